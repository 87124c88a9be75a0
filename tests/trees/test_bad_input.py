"""Trees that are wrong, strange or huge: an error that names the path, or a refusal that says why."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from llmastool.errors import EditRefused, LLMasToolError, RegistryError, TreeError
from llmastool.trees.budget import Budget, Fell
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog
from llmastool.trees.donors import Donors
from llmastool.trees.edits import Edit, apply
from llmastool.trees.gates import check
from llmastool.trees.moves import Moves
from llmastool.trees.observe import Network
from llmastool.trees.tree import SAME, Tree

IN_SHAPE = (2, 3, 16, 16)
HUGE = Budget(parameters=10**12, flops=10**15)


def sequence(*nodes: Tree) -> Tree:
    return Tree("torch.nn.Sequential", {}, tuple((str(i), node) for i, node in enumerate(nodes)))


class Choosy(nn.Module):
    """What it does depends on what it is given."""

    def forward(self, x):  # type: ignore[no-untyped-def]
        return x * 2 if x.sum() > 0 else x


class Counting(nn.Module):
    def forward(self, x):  # type: ignore[no-untyped-def]
        return x[: int(x.max())]


@pytest.mark.parametrize(
    ("tree", "error", "message"),
    [
        (sequence(Tree("torch.nn.ReLU"), Tree("gone.Net@0123456789ab")), RegistryError, r"^1: gone\.Net@0123456789ab: "),
        (Tree("torch.nn.NoSuchModule"), RegistryError, "^<root>: torch.nn.NoSuchModule"),
        (
            sequence(Tree("torch.nn.Conv2d", {"in_channels": 3, "out_channels": -1, "kernel_size": 1})), TreeError,
            r"^0: torch\.nn\.Conv2d cannot be built",
        ),
        (sequence(Tree("torch.nn.Dropout", {"p": 7})), TreeError, "^0: .*between 0 and 1"),
        (sequence(sequence(Tree("torch.nn.BatchNorm2d", {"num_features": 9}))), TreeError, r"^0\.0: forward fails"),
        (sequence(Tree("torch.nn.ReLU"), Tree(SAME, {"path": "1"})), TreeError, "^1: a module cannot stand within itself"),
        (sequence(Tree(SAME, {"path": "1"}), Tree(SAME, {"path": "0"})), TreeError, "^0: .* stands for another itself"),
        (sequence(Tree(SAME, {"path": "7.1"})), TreeError, r"^0: expected the module at '7\.1'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_path(
    catalog: Catalog, tree: Tree, error: type[LLMasToolError], message: str
) -> None:
    with pytest.raises(error, match=message):
        Network(tree, catalog, IN_SHAPE)


@pytest.mark.parametrize("cls", [Choosy, Counting])
def test_a_forward_that_depends_on_its_data_is_said_so(
    catalog: Catalog, cls: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = catalog.find
    monkeypatch.setattr(catalog, "load", lambda _: None)
    monkeypatch.setattr(catalog, "find", lambda module: cls if module == "choosy" else find(module))
    with pytest.raises(TreeError, match=r"^1: forward fails: what it does depends on the values of its input"):
        Network(sequence(Tree("torch.nn.ReLU"), Tree("choosy")), catalog, IN_SHAPE)


def test_a_tree_of_another_version_names_the_cure() -> None:
    for version in (0, 2, None, "1"):
        with pytest.raises(TreeError, match=r"^<root>: expected a tree of version 1, got version .*; export it again"):
            Tree.from_json({"version": version, "module": "torch.nn.ReLU"})


def test_a_tree_that_is_nested_too_deep_is_refused() -> None:
    value: dict[str, object] = {"module": "torch.nn.ReLU"}
    for _ in range(10_000):
        value = {"module": "torch.nn.Sequential", "children": [["0", value]]}
    with pytest.raises(TreeError, match="nested too deep"):
        Tree.from_json({"version": 1, **value})


@pytest.mark.slow
def test_ten_thousand_nodes_are_built_edited_and_refused_in_bounded_time(catalog: Catalog) -> None:
    conv = Tree("torch.nn.Conv2d", {"in_channels": 3, "out_channels": 3, "kernel_size": 1})
    tree = sequence(*[conv] * 10_000)
    started = time.process_time()
    network = Network(Tree.from_json(tree.to_json()), catalog, IN_SHAPE)
    assert len(network.profile.slots) == 10_000
    applied = apply(Edit(kind="insert", path="5000", node=Tree("torch.nn.ReLU")), network)
    assert applied.changed == ("5001",) and len(applied.tree.children) == 10_001
    assert apply(applied.inverse, Network(applied.tree, catalog, IN_SHAPE)).tree == tree
    groups = Moves(catalog).groups(network)
    assert len(groups) > 100_000
    with pytest.raises(Fell, match=r"expected at most 1,000 parameters, got 120,000|expected an output of shape"):
        check(tree, catalog, IN_SHAPE, 7, Budget(parameters=1000))
    assert time.process_time() - started < 300


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1))
def test_chains_of_moves_hold_all_that_is_promised(plain: Network, mined: Network, seed: int) -> None:
    """What applies builds, keeps its shape, survives JSON, names what changed, and can be taken back.

    Only what looks into a module by name, as a mined forward may, can refuse it later: at the shape gate.
    """
    rng, network, moves = np.random.default_rng(seed), mined, Moves(mined.catalog)
    donors = Donors([plain])
    for _ in range(4):
        groups = moves.groups(network, donors)
        group = groups[int(rng.integers(len(groups)))]
        for move in moves.drawn(group, network, rng, donors):
            try:
                applied = apply(move.edit, network)
            except EditRefused as refused:
                assert str(refused).partition(":")[0] in network.slots
                continue
            try:
                child = check(applied.tree, network.catalog, IN_SHAPE, 7, HUGE)
            except Fell as fell:
                assert fell.gate == "shape" and "has no attribute" in str(fell)
                continue
            assert applied.changed and apply(applied.inverse, child).tree == network.tree
            assert Tree.from_json(applied.tree.to_json()) == applied.tree
            assert sum(p.numel() for p in build(applied.tree, network.catalog).parameters()) == child.profile.parameters
            network = child
            break
