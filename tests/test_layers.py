"""The layers hold: imports go down only, there is no cycle, and the library needs none of the orchestration."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("llmastool", "tasks", "flows", "pipelines")
ORCHESTRATION = ("prefect", "dvc", "mlflow")


def modules(layer: str) -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / layer).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, *, module_level: bool = False) -> Iterator[str]:
    """Yield the dotted names that a file imports; `module_level` leaves out those inside functions and for types."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]

    def visit(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = package.split(".")[: len(package.split(".")) - child.level + 1] if child.level else []
                source = ".".join([*base, *([child.module] if child.module else [])])
                yield source
                yield from (f"{source}.{alias.name}" for alias in child.names)
            elif not (module_level and is_deferred(child)):
                yield from visit(child)

    return visit(ast.parse(path.read_text()))


def is_deferred(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.dump(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def arrows_up(layer: str, name: str, path: Path) -> list[str]:
    above = set(LAYERS[LAYERS.index(layer) + 1 :])
    if layer == "llmastool":
        above |= set(ORCHESTRATION)
    return [imported for imported in imports(name, path) if imported.split(".")[0] in above]


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_go_down_only(layer: str) -> None:
    found = modules(layer)
    assert found
    wrong = {name: up for name, path in found.items() if (up := arrows_up(layer, name, path))}
    assert not wrong


def test_only_the_tracker_knows_mlflow() -> None:
    users = {
        name
        for layer in LAYERS
        for name, path in modules(layer).items()
        if any(imported.split(".")[0] == "mlflow" for imported in imports(name, path))
    }
    assert users == {"tasks.tracker", "tasks.models", "tasks.champion"}


def test_there_is_no_import_cycle() -> None:
    everything = {name: path for layer in LAYERS for name, path in modules(layer).items()}
    graph = {}
    for name, path in everything.items():
        found = {i for i in imports(name, path, module_level=True) if i in everything and i != name}
        # `from package import module` needs the module; that it names the package makes no cycle with the package.
        graph[name] = {i for i in found if not any(other.startswith(f"{i}.") for other in found)}
    assert not cycle_of(graph)


def cycle_of(graph: dict[str, set[str]]) -> list[str]:
    done: set[str] = set()

    def walk(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return trail[trail.index(name) :]
        if name in done:
            return []
        for target in sorted(graph[name]):
            if found := walk(target, [*trail, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


def test_the_checks_would_see_a_violation(tmp_path: Path) -> None:
    source = tmp_path / "bad.py"
    source.write_text("def f():\n    from flows.search import search\n    import mlflow.pyfunc\n")
    assert arrows_up("llmastool", "llmastool.bad", source) == ["flows.search", "flows.search.search", "mlflow.pyfunc"]
    assert not list(imports("llmastool.bad", source, module_level=True))
    assert cycle_of({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


def test_relative_imports_are_resolved(tmp_path: Path) -> None:
    source = tmp_path / "bad.py"
    source.write_text("from ..flows import search\n")
    assert list(imports("llmastool.bad", source)) == ["flows", "flows.search"]


BLOCKER = """
import importlib, pkgutil, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"blocked: {{name}}", name=name)
sys.meta_path.insert(0, Blocker())
import llmastool
names = [m.name for m in pkgutil.walk_packages(llmastool.__path__, "llmastool.")]
assert len(names) > 20, names
for name in names:
    importlib.import_module(name)
try:
    import prefect
except ModuleNotFoundError as error:
    print(error)
"""


def test_the_library_imports_without_prefect_dvc_and_mlflow() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKER.format(blocked=set(ORCHESTRATION))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "blocked: prefect"


@pytest.mark.parametrize(
    ("module", "unneeded"),
    [
        ("llmastool.params", {"torch", "scipy", "pymc", "polars", "PIL"}),
        ("llmastool.registry.register", {"torch", "scipy", "pymc"}),
        ("llmastool.search", {"torch", "pymc"}),
        ("llmastool.final", {"torch", "scipy", "pymc"}),
        ("llmastool.report", {"torch", "scipy", "pymc"}),
        ("flows.mine", {"torch", "scipy", "pymc"}),
    ],
)
def test_a_stage_does_not_wait_for_packages_that_it_does_not_need(module: str, unneeded: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted({unneeded!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
