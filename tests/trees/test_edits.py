"""Edits, adapters, gates, moves."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmastool.errors import ConfigError, EditRefused
from llmastool.modes import quiet
from llmastool.trees.adapters import STYLES, Style, bridge, convert, restyled, sequence
from llmastool.trees.axes import layout_of
from llmastool.trees.budget import Budget, Fell
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog
from llmastool.trees.donors import Donors
from llmastool.trees.edits import Edit, apply
from llmastool.trees.fitting import joined
from llmastool.trees.gates import check, real_pass
from llmastool.trees.moves import Group, Moves
from llmastool.trees.observe import Network, out_shape
from llmastool.trees.offers import Move
from llmastool.trees.profile import Layout
from llmastool.trees.tree import Tree

IN_SHAPE = (2, 3, 16, 16)
BUDGET = Budget(parameters=10**7, flops=10**9)


def conv(channels: int, out: int, **args: object) -> Tree:
    return Tree("torch.nn.Conv2d", {"in_channels": channels, "out_channels": out, "kernel_size": 1, **args})


def test_replace_keeps_the_rest_and_adapts_the_shape(mined: Network) -> None:
    new = apply(Edit(kind="replace", path="layers.1", node=conv(8, 5)), mined).tree
    node = new.at("layers.1")
    assert node is not None
    assert [child.module for _, child in node.children] == ["torch.nn.Conv2d", "torch.nn.Conv2d"]
    assert node.children[1][1].args == {
        "in_channels": 5,
        "out_channels": 16,
        "kernel_size": 1,
        "bias": False,
        "stride": 2,
    }
    assert mined.tree.children == (), "the parent is a value and stays as it was"
    assert Network(new, mined.catalog, IN_SHAPE).profile.out_shape == (2, 7)


def test_insert_after_goes_into_a_sequence_where_there_is_one(plain: Network) -> None:
    new = apply(Edit(kind="insert", path="stem.1", node=Tree("torch.nn.GELU")), plain).tree
    stem = new.at("stem")
    assert stem is not None
    assert [(slot, child.module) for slot, child in stem.children] == [
        ("0", "torch.nn.Conv2d"), ("1", "torch.nn.BatchNorm2d"), ("2", "torch.nn.GELU"),
    ]  # fmt: skip
    named = apply(Edit(kind="insert", path="stage1", node=Tree("torch.nn.GELU")), plain).tree
    assert [slot for slot, _ in named.children] == ["stem", "stage1", "stage_1", "reduce1", "stage2", "head"]


def test_insert_where_a_constructor_made_the_slot_wraps_it(mined: Network) -> None:
    before = apply(Edit(kind="insert", path="layers.0.gate", node=Tree("torch.nn.GELU"), where="before"), mined).tree
    node = before.at("layers.0.gate")
    assert node is not None and [c.module.partition("@")[0] for _, c in node.children] == [
        "torch.nn.GELU",
        "tiny.nets.Gate",
    ]
    beside = apply(Edit(kind="insert", path="layers.1", node=conv(8, 16), where="parallel_sum"), mined).tree
    node = beside.at("layers.1")
    assert node is not None and node.module == "llmastool.blocks.Residual"
    assert Network(beside, mined.catalog, IN_SHAPE).profile.out_shape == (2, 7)


def test_delete_leaves_the_smallest_adapter(plain: Network, mined: Network) -> None:
    assert len((apply(Edit(kind="delete", path="stem.1"), plain).tree.at("stem") or plain.tree).children) == 1
    gone = apply(Edit(kind="delete", path="layers.0.gate"), mined).tree
    assert gone.at("layers.0.gate") == Tree("torch.nn.Identity")
    strided = apply(Edit(kind="delete", path="layers.1"), mined).tree.at("layers.1")
    assert strided == conv(8, 16, bias=False, stride=2)
    with pytest.raises(EditRefused, match="nothing to delete"):
        apply(Edit(kind="delete", path="layers.0.gate"), Network(gone, mined.catalog, IN_SHAPE))


def test_set_args_changes_what_is_named(mined: Network) -> None:
    new = apply(Edit(kind="set_args", path="layers.0.gate", args={"reduction": 4}), mined).tree
    node = new.at("layers.0.gate")
    assert node is not None and node.args == {"channels": 8, "reduction": 4}
    with pytest.raises(EditRefused, match="the arguments are these already"):
        apply(Edit(kind="set_args", path="layers.0.gate", args={"channels": 8}), mined)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Edit(kind="delete", path="nowhere"), "nowhere: there is no such slot"),
        (Edit(kind="replace", path="stem"), "needs a module to bring in"),
        (Edit(kind="replace", path="stem", node=conv(5, 8)), "does not take an input of shape"),
        (Edit(kind="replace", path="stem", node=Tree("torch.nn.Flatten")), "no adapter turns"),
        (Edit(kind="set_args", path="stem", args={"kernel_size": "x"}), "does not take an input"),
    ],
)
def test_what_does_not_hold_is_refused_with_the_reason(mined: Network, edit: Edit, message: str) -> None:
    with pytest.raises(EditRefused, match=message):
        apply(edit, mined)


@pytest.mark.parametrize(
    ("shape", "target"),
    [
        ((2, 4, 8, 8), (2, 4, 8, 8)),
        ((2, 4, 8, 8), (2, 6, 8, 8)),
        ((2, 4, 8, 8), (2, 4, 4, 4)),
        ((2, 4, 8, 8), (2, 6, 2, 2)),
        ((2, 4, 4, 4), (2, 6, 8, 8)),
        ((2, 8, 8, 4), (2, 4, 4, 4)),
        ((2, 9, 4), (2, 9, 6)),
        ((2, 4), (2, 6)),
    ],
)
def test_bridges_run_and_give_the_target(plain: Network, shape: tuple[int, ...], target: tuple[int, ...]) -> None:
    layout = layout_of(shape)
    assert layout is not None
    nodes = bridge(shape, target, layout)
    assert nodes is not None
    if shape == target:
        assert nodes == []
    else:
        assert out_shape(sequence(nodes), plain.catalog, shape) == target


def test_there_is_no_bridge_to_tokens_that_make_no_square_or_from_vectors_to_maps() -> None:
    assert bridge((2, 9, 4), (2, 8, 4), "BNC") is None
    assert bridge((2, 4), (3, 4), "BC") is None
    assert bridge((2, 4), (2, 4, 8, 8), "BC", "NCHW") is None


SPATIAL = st.sampled_from(["NCHW", "NHWC", "BNC"])
SIZE = st.integers(1, 9)


def shape_in(layout: str, channels: int, side: int) -> tuple[int, ...]:
    shapes = {
        "NCHW": (2, channels, side, side),
        "NHWC": (2, side, side, channels),
        "BNC": (2, side * side, channels),
        "BC": (2, channels),
    }
    return shapes[layout]


@given(SPATIAL, SPATIAL | st.just("BC"), SIZE, SIZE, SIZE, SIZE)
def test_a_bridge_leads_from_any_map_to_any_other_shape(
    layout: Layout, to: Layout, channels: int, wanted: int, side: int, size: int
) -> None:
    shape, target = shape_in(layout, channels, side), shape_in(to, wanted, size)
    nodes = bridge(shape, target, layout, to)
    assert nodes is not None
    assert (nodes == []) == ((shape, layout) == (target, to))
    net = build(sequence(nodes), Catalog()) if nodes else torch.nn.Identity()
    assert tuple(net(torch.zeros(shape)).shape) == target


def test_a_bridge_takes_the_fewest_nodes_that_compute_the_least() -> None:
    down = bridge((2, 4, 8, 8), (2, 6, 4, 4), "NCHW")
    assert down is not None and [n.module for n in down] == ["torch.nn.Conv2d"]
    up = bridge((2, 8, 4, 4), (2, 2, 8, 8), "NCHW")
    assert up is not None and [n.module for n in up] == ["torch.nn.Conv2d", "torch.nn.Upsample"]
    last = bridge((2, 4, 4, 8), (2, 4, 4, 2), "NHWC")
    assert last is not None and [n.module for n in last] == ["torch.nn.Linear"]
    assert bridge((2, 4, 8, 8), (2, 4, 3, 3), "NCHW") == [Tree("torch.nn.AdaptiveAvgPool2d", {"output_size": 3})]
    assert bridge((2, 4, 8, 8), (2, 4), "NCHW") is None


@pytest.mark.parametrize("style", ["average", "max", "convolution"])
@given(SPATIAL, SPATIAL | st.just("BC"), SIZE, SIZE, SIZE, SIZE)
def test_a_bridge_of_another_style_leads_to_the_same_shape(
    style: Style, layout: Layout, to: Layout, channels: int, wanted: int, side: int, size: int
) -> None:
    shape, target = shape_in(layout, channels, side), shape_in(to, wanted, size)
    nodes = bridge(shape, target, layout, to)
    assert nodes is not None
    styled = restyled(nodes, channels, style)
    net = build(sequence(styled), Catalog()) if styled else torch.nn.Identity()
    assert tuple(net(torch.zeros(shape)).shape) == target


def test_styles_change_the_resolution_in_their_ways() -> None:
    def modules(shape: tuple[int, ...], target: tuple[int, ...], style: Style) -> list[str]:
        nodes = joined(shape, target, style)
        assert nodes is not None
        return [node.module.rpartition(".")[2] for node in nodes]

    both, falls, rises = ((2, 4, 8, 8), (2, 6, 4, 4)), ((2, 4, 8, 8), (2, 4, 4, 4)), ((2, 4, 4, 4), (2, 4, 8, 8))
    assert [modules(*both, s) for s in STYLES] == [
        ["Conv2d"],
        ["AvgPool2d", "Conv2d"],
        ["MaxPool2d", "Conv2d"],
        ["Conv2d"],
    ]
    assert [modules(*falls, s) for s in STYLES] == [["AvgPool2d"], ["AvgPool2d"], ["MaxPool2d"], ["Conv2d"]]
    assert modules(*rises, "convolution") == ["ConvTranspose2d"] and modules(*rises, "max") == ["Upsample"]


def test_an_edit_can_ask_for_another_adapter(plain: Network) -> None:
    slot = next(s for s in plain.profile.slots if s.in_shape and s.out_shape and s.in_shape[2:] != s.out_shape[2:])
    trees = {apply(Edit(kind="delete", path=slot.path, adapter=style), plain).tree.id for style in STYLES}
    assert len(trees) >= 2


def test_conversions_run_both_ways(plain: Network) -> None:
    for layout, shape in (("BNC", (2, 16, 3)), ("NHWC", (2, 4, 4, 3)), ("NCHW", (2, 3, 4, 4))):
        for to in ("NCHW", "NHWC", "BNC"):
            found = convert(shape, layout, to)  # type: ignore[arg-type]
            assert found is not None
            back = convert(found[0], to, layout)  # type: ignore[arg-type]
            assert back is not None and back[0] == shape
            nodes = [*found[1], *back[1]]
            if nodes:
                net = build(sequence(nodes), plain.catalog)
                x = torch.randn(shape)
                assert torch.equal(net(x), x)
    assert convert((2, 15, 3), "BNC", "NCHW") is None
    assert convert((2, 3), "BC", "NCHW") is None


def test_random_moves_hold_or_are_refused_and_what_holds_trains(plain: Network, mined: Network) -> None:
    """Chains of random moves: no exception but a refusal, and every tree that passes the gates takes a training step."""
    rng, counts, kinds = np.random.default_rng(0), Counter[str](), Counter[str]()
    for start, other in ((plain, mined), (mined, plain)):
        network, moves = start, Moves(start.catalog)
        for _ in range(60):
            donors = Donors([other])
            by_kind: dict[str, list[Group]] = {}
            for found in moves.groups(network, donors):
                by_kind.setdefault(found.kind, []).append(found)
            kind = sorted(by_kind)[int(rng.integers(len(by_kind)))]
            group = by_kind[kind][int(rng.integers(len(by_kind[kind])))]
            move = next(moves.drawn(group, network, rng, donors), None)
            if move is None:
                counts["none"] += 1
                continue
            try:
                tree = apply(move.edit, network).tree
            except EditRefused:
                counts["refused"] += 1
                continue
            torch.manual_seed(0)
            try:
                child = check(tree, network.catalog, IN_SHAPE, 7, BUDGET)
                with quiet():
                    real_pass(build(tree, network.catalog), torch.randn(IN_SHAPE), 7)
            except Fell as fell:
                counts[fell.gate] += 1
                continue
            counts["ok"] += 1
            kinds[group.kind] += 1
            network = child if len(child.profile.slots) < 80 else start
    assert counts["ok"] >= 80, counts
    assert counts["refused"] + counts["none"] <= 30, counts
    assert counts["numerics"] <= 10, counts
    assert counts.keys() <= {"ok", "refused", "none", "numerics", "budget"}
    assert kinds.keys() >= {"delete", "replace", "insert", "set_args", "repeat", "unrepeat", "wrap", "graft", "widen"}


def test_moves_are_the_same_for_the_same_seed(plain: Network, mined: Network) -> None:
    moves, donors = Moves(mined.catalog), Donors([plain])
    groups = moves.groups(mined, donors)
    assert groups == Moves(mined.catalog).groups(mined, Donors([plain]))
    assert {"replace", "insert", "delete", "set_args", "repeat", "wrap", "graft"} <= {g.kind for g in groups}

    def drawn() -> list[Move]:
        rng = np.random.default_rng(4)
        return [move for group in groups for move in moves.drawn(group, mined, rng, donors)]

    assert drawn() == drawn()
    assert len(drawn()) > len(groups)


def test_nothing_is_offered_that_changes_nothing(plain: Network) -> None:
    """Our own blocks with nothing in them, and modules that pass their input on, are no moves."""
    moves, rng = Moves(plain.catalog), np.random.default_rng(0)
    for group in moves.groups(plain):
        if group.kind in ("replace", "insert"):
            for move in moves.drawn(group, plain, rng):
                assert move.entry is not None and not move.entry.module.startswith("llmastool.blocks.")

    def names(*shapes: tuple[int, ...]) -> set[str]:
        return {f.entry.module for found in moves.fits.between(*shapes).values() for f in found}

    assert not names((2, 10), (2, 10)) & {"torch.nn.Identity", "torch.nn.Flatten"}
    assert "torch.nn.Linear" in names((2, 10), (2, 10))
    assert "torch.nn.Upsample" not in names((2, 64, 32), (2, 64, 32)), "to the width that there is, it does nothing"
    assert plain.catalog.registry is not None and "torch.nn.Upsample" in plain.catalog.registry.entries


def test_gates_fall_in_order(mined: Network, plain: Network) -> None:
    catalog = mined.catalog
    cases = {
        "build": (Tree("torch.nn.Linear", {"in_features": 3}), BUDGET),
        "shape": (conv(3, 4), BUDGET),
        "budget": (mined.tree, Budget(parameters=100)),
    }
    for gate, (tree, budget) in cases.items():
        with pytest.raises(Fell) as fell:
            check(tree, catalog, IN_SHAPE, 7, budget)
        assert fell.value.gate == gate
    with pytest.raises(Fell, match=r"at most 100 parameters, got [\d,]+"):
        check(plain.tree, catalog, IN_SHAPE, 7, Budget(parameters=100))


def test_a_budget_grows_from_what_networks_are_made_of() -> None:
    assert Budget(flops=1000, growth=2.5).grown_from([10, 40, 20]) == Budget(flops=100, growth=2.5)
    assert Budget(flops=50, growth=2.5).grown_from([40]).flops == 50, "never beyond the limit itself"
    assert Budget(flops=50).grown_from([40]).flops == 50
    assert Budget(flops=50, growth=2.5).grown_from([]).flops == 50, "nothing to grow from"
    with pytest.raises(ConfigError, match=r"growth.*1 or more, or null.*0\.5"):
        Budget(growth=0.5)


def test_the_real_pass_sees_dead_parameters_and_leaves_no_trace(catalog_free_net: torch.nn.Module) -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 3))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    real_pass(net, torch.randn(2, 1, 2, 2), 3)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    with pytest.raises(Fell, match="1 parameters are never used, the first is spare") as fell:
        real_pass(catalog_free_net, torch.randn(2, 1, 2, 2), 3)
    assert fell.value.gate == "numerics"
    linear = torch.nn.Linear(4, 3)
    torch.nn.init.constant_(linear.weight, float("nan"))
    bad = torch.nn.Sequential(torch.nn.Flatten(), linear)
    with pytest.raises(Fell, match="loss of the first pass is nan"):
        real_pass(bad, torch.randn(2, 1, 2, 2), 3)


@pytest.fixture
def catalog_free_net() -> torch.nn.Module:
    class Spare(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spare = torch.nn.Parameter(torch.zeros(3))
            self.fc = torch.nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.fc(x.flatten(1))
            return out

    return Spare()
