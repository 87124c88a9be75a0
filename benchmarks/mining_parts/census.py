"""A census of module classes, counted with Python's own parser: it shares no code with the miner that it measures."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

_OUTSIDE = ("torch", "torchvision", "lightning", "pytorch_lightning")
"""Packages whose classes are looked at to see whether they are modules; what is not installed counts as none."""


@dataclass(frozen=True)
class Definition:
    """A class that derives from `nn.Module`."""

    name: str
    """Module and path of the class."""
    has_forward: bool
    """Whether it, or a class that it derives from, defines `forward`."""
    direct: bool
    """Whether `nn.Module` itself is among its bases, it stands at the top level, and `forward` is its own."""


@dataclass
class _File:
    package: bool
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """What a name of the file stands for, as a dotted name."""
    stars: list[str] = field(default_factory=list)


def census(files: Sequence[tuple[str, Path]]) -> list[Definition]:
    """Return all definitions of a source, sorted by name; what cannot be parsed has none."""
    read = {name: _read(name, path) for name, path in files}
    return sorted(_Census({name: file for name, file in read.items() if file is not None}).all(), key=lambda d: d.name)


def _read(module: str, path: Path) -> _File | None:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return None
    file = _File(path.name == "__init__.py")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                file.names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, file.package, node)
            for alias in node.names:
                if alias.name == "*":
                    file.stars.append(base)
                else:
                    file.names[alias.asname or alias.name] = f"{base}.{alias.name}"
    for statement in _statements(tree.body):
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Name | ast.Attribute):
            for target in statement.targets:
                if isinstance(target, ast.Name) and target.id not in file.names:
                    file.names[target.id] = ast.unparse(statement.value)
    file.classes.update(_classes(tree, ""))
    return file


def _absolute(module: str, package: bool, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    parts = parts[: len(parts) - node.level + package]
    return ".".join([*parts, node.module] if node.module else parts)


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run when the file is imported, those under `if` and `try` included."""
    for statement in body:
        yield statement
        for inner in ("body", "orelse", "finalbody", "handlers"):
            if isinstance(statement, ast.If | ast.Try | ast.With):
                for part in getattr(statement, inner, ()):
                    yield from _statements(part.body if isinstance(part, ast.ExceptHandler) else [part])


def _classes(node: ast.AST, path: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """Yield classes by their path; those inside of functions cannot be named from outside and are left out."""
    for child in _statements(getattr(node, "body", [])):
        if isinstance(child, ast.ClassDef):
            yield path + child.name, child
            yield from _classes(child, f"{path}{child.name}.")


class _Census:
    def __init__(self, files: dict[str, _File]) -> None:
        self.files = files
        self.known: dict[str, tuple[bool, bool] | None] = {}

    def all(self) -> Iterator[Definition]:
        for module, file in self.files.items():
            for path, node in file.classes.items():
                name = f"{module}.{path}"
                found = self.look(name)
                if found is not None and found[0]:
                    bases = {self.resolve(module, ast.unparse(_plain(b))) for b in node.bases}
                    direct = "." not in path and "torch.nn.Module" in bases and _own_forward(node)
                    yield Definition(name, found[1], direct)

    def look(self, name: str) -> tuple[bool, bool] | None:
        """Return whether a class is a module, and whether it has a forward; None where it is not known."""
        if name not in self.known:
            self.known[name] = None  # a class that derives from itself
            self.known[name] = self._look(name)
        return self.known[name]

    def _look(self, name: str) -> tuple[bool, bool] | None:
        place = self._place(name)
        if place is None:
            return _outside(name)
        module, path = place
        node = self.files[module].classes[path]
        bases = [self.look(self.resolve(module, ast.unparse(_plain(b)))) for b in node.bases]
        known = [b for b in bases if b is not None]
        return any(m for m, _ in known), _own_forward(node) or any(f for _, f in known)

    def _place(self, name: str) -> tuple[str, str] | None:
        parts = name.split(".")
        for cut in range(len(parts) - 1, 0, -1):
            module, path = ".".join(parts[:cut]), ".".join(parts[cut:])
            if module in self.files and path in self.files[module].classes:
                return module, path
        return None

    def resolve(self, module: str, dotted: str, depth: int = 0) -> str:
        """Return what a dotted name in a file stands for, followed through the imports of the source's files."""
        file = self.files[module]
        first, _, rest = dotted.partition(".")
        if dotted in file.classes or depth > 20:
            return f"{module}.{dotted}"
        full = file.names.get(first)
        if full is None:
            for star in file.stars:
                if star in self.files and (first in self.files[star].classes or first in self.files[star].names):
                    return self.resolve(star, dotted, depth + 1)
            return dotted
        alias = file.names.get(full.split(".")[0])  # where the name was assigned another one of this file
        if alias not in (None, full) and full != dotted and not self._leads(full):
            return self.resolve(module, f"{full}.{rest}" if rest else full, depth + 1)
        return self._follow(f"{full}.{rest}" if rest else full, depth)

    def _leads(self, full: str) -> bool:
        return any(full == m or full.startswith(f"{m}.") or m.startswith(f"{full}.") for m in self.files)

    def _follow(self, full: str, depth: int) -> str:
        parts = full.split(".")
        for cut in range(len(parts) - 1, 0, -1):
            module = ".".join(parts[:cut])
            if module in self.files:
                return self.resolve(module, ".".join(parts[cut:]), depth + 1)
        return full


def _plain(base: ast.expr) -> ast.expr:
    """Return the class of a generic base such as `Base[T]`."""
    return base.value if isinstance(base, ast.Subscript) else base


def _own_forward(node: ast.ClassDef) -> bool:
    for statement in _statements(node.body):
        if isinstance(statement, ast.FunctionDef) and statement.name == "forward":
            return True
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if any(isinstance(t, ast.Name) and t.id == "forward" for t in targets):
            return True
    return False


def _outside(name: str) -> tuple[bool, bool] | None:
    if name.split(".")[0] not in _OUTSIDE:
        return None
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError):
        return None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        return None
    return True, found.forward is not nn.Module.forward
