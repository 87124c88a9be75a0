"""`llmastool tree`: trees from files and archives, as lines, in short, and compared."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llmastool.candidate import Candidate
from llmastool.start import skeleton
from llmastool.start_config import Skeleton
from llmastool.trees.catalog import Catalog
from llmastool.trees.edits import Edit, apply
from llmastool.trees.observe import Network
from llmastool.trees.tree import Tree
from tests.cli.conftest import Run, parsed

LAST = "head.4"
"""Slot of the last layer."""


@pytest.fixture(scope="module")
def network(registry_folder: Path) -> Network:
    return Network(
        skeleton(Skeleton(channels=4, cells=1, stages=2), 3, 7), Catalog.open(registry_folder), (2, 3, 16, 16)
    )


@pytest.fixture(scope="module")
def edited(network: Network) -> Tree:
    gate = Tree(network.catalog.by_name("tiny.nets.Gate"), {"channels": 4, "reduction": 2})
    with_gate = apply(Edit(kind="insert", path="stage1", node=gate), network).tree
    child = Network(with_gate, network.catalog, (2, 3, 16, 16))
    return apply(Edit(kind="set_args", path=LAST, args={"bias": False}), child).tree


@pytest.fixture
def archive(network: Network, edited: Tree, tmp_path: Path) -> Path:
    trees = (network.tree, edited)
    made = [
        Candidate(tree=tree, round=i, index=0, parent=None, change="", plan=None, fill=None)
        for i, tree in enumerate(trees)
    ]
    path = tmp_path / "archive.json"
    content = {"entries": [{"candidate": c.to_json()} for c in made], "data": {"shape": [3, 16, 16]}}
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def file(edited: Tree, tmp_path: Path) -> str:
    path = tmp_path / "tree.json"
    path.write_text(json.dumps(edited.to_json()))
    return str(path)


def test_show_lists_slots_with_shapes_costs_and_origin(run: Run, archive: Path, registry_folder: Path) -> None:
    question = ("tree", "show", f"{archive}:r01", "--registry", str(registry_folder))
    status, out, err = run(*question)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["SLOT", "MODULE", "GIVES", "PARAMETERS", "FLOPS", "FROM"]
    (gate,) = (line for line in lines if "Gate(channels=4, reduction=2)" in line)
    assert "4x16x16" in gate and re.search(r"tiny .*nets\.py:\d+$", gate)
    assert re.match(r"3x16x16 -> 7, [\d,]+ parameters, [\d,]+ multiply-adds, depth \d+$", lines[-1])
    top = parsed(run, *question, "--depth", "1")
    assert {line["depth"] for line in top} == {0} and len(top) < len(lines) - 2


def test_summary_says_what_it_is_made_of(run: Run, file: str, registry_folder: Path, edited: Tree) -> None:
    question = ("tree", "summary", file, "--registry", str(registry_folder), "--shape", "2,3,16,16")
    status, out, _ = run(*question)
    assert status == 0 and edited.id in out and re.search(r"layers .*\d+ convolution", out)
    assert re.search(r"mined +tiny .*nets\.py:\d+", out)
    assert parsed(run, *question)["out_shape"] == [2, 7]


def test_diff_reads_like_a_review(run: Run, archive: Path) -> None:
    _, out, _ = run("tree", "diff", f"{archive}:r00", f"{archive}:r01")
    assert "+ stage_1  Gate(channels=4, reduction=2)" in out.splitlines()
    assert any(line.startswith(f"~ {LAST}  Linear: bias default -> False") for line in out.splitlines())
    _, back, _ = run("tree", "diff", f"{archive}:r01", f"{archive}:r00")
    assert "- stage_1  Gate(channels=4, reduction=2)" in back.splitlines()
    _, same, _ = run("tree", "diff", f"{archive}:r00", f"{archive}:r00")
    assert same == "the trees are the same\n"


def test_mistakes_are_told_with_status_2(
    run: Run, archive: Path, file: str, registry_folder: Path, tmp_path: Path
) -> None:
    registry = ("--registry", str(registry_folder))
    (tmp_path / "text.json").write_text("no JSON")
    (tmp_path / "old.json").write_text(json.dumps({"version": 0, "module": "torch.nn.ReLU"}))
    (tmp_path / "other.json").write_text(json.dumps({"version": 1, "module": "tiny.nets.Gate@000000000000"}))
    for argv, message in (
        (("show", str(tmp_path / "nothing.json"), *registry), "expected a file with a tree, or FILE:CANDIDATE"),
        (("show", str(archive), *registry), "expected one candidate, as in .*:r00-00, found 2; there are r00-00-"),
        (("show", f"{archive}:r09", *registry), "expected one candidate, .* found 0"),
        (("show", file, *registry), "expected the shape of an input as well; give --shape"),
        (("show", str(tmp_path / "text.json"), *registry), "expected JSON, got something else"),
        (("diff", str(tmp_path / "old.json"), file), "expected a tree of version 1, got version 0; export it again"),
        (
            ("show", str(tmp_path / "other.json"), *registry, "--shape", "2,3,8,8"),
            "tiny.nets.Gate@000000000000: expected a module of torch or of the registry, found none",
        ),
    ):
        status, out, err = run("tree", *argv)
        assert (status, out) == (2, ""), argv
        assert re.search(message, err) and len(err.splitlines()) == 1, err


def test_export_writes_code_weights_and_a_program_that_agree(
    run: Run, archive: Path, registry_folder: Path, tmp_path: Path
) -> None:
    out, name = tmp_path / "out", f"{archive}:r01"
    written = parsed(run, "tree", "export", name, "--registry", str(registry_folder), "--out", str(out))
    names = {"model.py", "tree.json", "weights.safetensors", "program.pt2"}
    assert set(written) == names == {p.name for p in out.iterdir()}
    check = """
import sys, torch, importlib.util
from safetensors.torch import load_model
spec = importlib.util.spec_from_file_location("model", sys.argv[1] + "/model.py")
model = importlib.util.module_from_spec(spec)
spec.loader.exec_module(model)
torch.manual_seed(5)
net = model.build_model().eval()
load_model(net, sys.argv[1] + "/weights.safetensors")
x = torch.randn(2, 3, 16, 16)
program = torch.export.load(sys.argv[1] + "/program.pt2").module()
assert torch.allclose(net(x), program(x), atol=1e-6)
torch.manual_seed(0)
assert torch.equal(model.build_model().eval()(x), net(x)), "fresh weights of seed 0"
assert not [m for m in sys.modules if m.startswith("llmastool")]
"""
    done = subprocess.run([sys.executable, "-c", check, str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again = tmp_path / "again"
    weights = ("--weights", str(out / "weights.safetensors"))
    status, said, _ = run("tree", "export", name, "--registry", str(registry_folder), "--out", str(again), *weights)
    assert status == 0 and "its weights, as given" in said
    assert (again / "weights.safetensors").read_bytes() == (out / "weights.safetensors").read_bytes()
    other = ("tree", "export", f"{archive}:r00", "--registry", str(registry_folder), "--out", str(again), *weights)
    status, _, err = run(*other)
    assert status == 2 and re.search("expected the weights of this network, got others", err)
