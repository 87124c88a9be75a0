"""Exported files run in one fresh process without this project, beside what the bundles do when loaded here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from llmastool.registry.loading import load_bundle
from llmastool.trees.export import export
from llmastool.trees.tree import Tree
from tests.trees.bundles import make_bundle
from tests.trees.cases import CASES, files_of

RUNNER = """
import importlib.util, json, sys, torch
results = {}
for path in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location("network", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["network"] = module
    spec.loader.exec_module(module)
    results[path] = module.build_model()(torch.ones(1)).item()
assert not {"llmastool", "pkg"} & {name.split(".")[0] for name in sys.modules}
print(json.dumps(results))
"""


def run_isolated(code: str, *args: str) -> str:
    command = [sys.executable, "-I", "-W", "error", "-c", code, *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    folder = tmp_path_factory.mktemp("exported")
    for number, (_, case) in enumerate(CASES.values()):
        bundle = make_bundle(files_of(case))
        text = export(Tree(bundle.id), {bundle.id: bundle}, in_shape=(1,), title="A network")
        (folder / f"{number}.py").write_text(text)
    found = json.loads(run_isolated(RUNNER, *(str(folder / f"{number}.py") for number in range(len(CASES)))))
    return {name: (found[str(folder / f"{number}.py")], folder / f"{number}.py") for number, name in enumerate(CASES)}


@pytest.mark.parametrize("case", CASES)
def test_the_flat_file_means_what_the_files_meant(results: Mapping[str, tuple[float, Path]], case: str) -> None:
    expected, text = CASES[case]
    loaded = load_bundle(make_bundle(files_of(text)))()
    assert loaded(torch.ones(1)).item() == expected, "the case itself is wrong"
    assert results[case][0] == expected


def test_sources_are_kept_as_written_and_no_import_of_them_is_left(results: Mapping[str, tuple[float, Path]]) -> None:
    text = results["helpers of one name"][1].read_text()
    assert '# scale is a local name here, and "scale" a string\n    return dict(scale=scale)["scale"] + 1' in text
    assert "def twice(): return 2 * scale()" in text or "def twice(): return 2 * scale_other()" in text
    for _, path in results.values():
        assert "from ." not in path.read_text() and "from pkg" not in path.read_text()


def test_a_file_that_cannot_be_made_flat_says_why(results: Mapping[str, tuple[float, Path]]) -> None:
    text = results["all names of another package"][1].read_text()
    assert "pkg/maths.py keeps a namespace of its own, because it imports all names of math." in text
    text = results["code that reads annotations beside postponed ones"][1].read_text()
    assert "pkg/reader.py keeps a namespace of its own, because it looks at annotations (annotation, signature)" in text
    boxed = [name for name, (_, path) in results.items() if "_run_module" in path.read_text()]
    assert len(boxed) == 2
