"""Every kind of edit: what it does, when it is refused, what it names as changed, and the way back."""

import pytest
import torch

from llmastool.errors import EditRefused
from llmastool.modes import quiet
from llmastool.start import skeleton
from llmastool.start_config import Skeleton
from llmastool.trees.budget import Budget
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog
from llmastool.trees.diff import differences
from llmastool.trees.edits import Edit, apply
from llmastool.trees.gates import check, real_pass
from llmastool.trees.observe import Network
from llmastool.trees.tree import Tree

IN_SHAPE = (2, 3, 16, 16)
CONV = Tree("torch.nn.Conv2d", {"in_channels": 4, "out_channels": 4, "kernel_size": 3, "padding": 1})
RELU = Tree("torch.nn.ReLU")


@pytest.fixture(scope="module")
def row(catalog: Catalog) -> Network:
    """A network of a stem, a row of convolutions of which one has a stride, and a head."""

    def conv(inputs: int, outputs: int, stride: int = 1) -> Tree:
        args = {"in_channels": inputs, "out_channels": outputs, "kernel_size": 3, "padding": 1, "stride": stride}
        return Tree("torch.nn.Conv2d", args)

    stage = Tree("torch.nn.Sequential", {}, (("0", conv(4, 4)), ("1", conv(4, 8, 2)), ("2", conv(8, 8)), ("3", RELU)))
    head = Tree(
        "torch.nn.Sequential",
        {},
        (
            ("0", Tree("torch.nn.AdaptiveAvgPool2d", {"output_size": 1})),
            ("1", Tree("torch.nn.Flatten")),
            ("2", Tree("torch.nn.Linear", {"in_features": 8, "out_features": 7})),
        ),
    )
    return Network(
        Tree("torch.nn.Sequential", {}, (("stem", conv(3, 4)), ("stage", stage), ("head", head))), catalog, IN_SHAPE
    )


@pytest.fixture(scope="module")
def cells(catalog: Catalog) -> Network:
    return Network(skeleton(Skeleton(channels=4, cells=2, stages=2), 3, 7), catalog, IN_SHAPE)


def modules(tree: Tree | None) -> list[str]:
    assert tree is not None
    return [child.module.rpartition(".")[2] for _, child in tree.children]


def held(edit: Edit, network: Network) -> Tree:
    """Apply an edit; what comes out trains, its inverse brings the tree back, and its changes are where it differs."""
    done = apply(edit, network)
    assert done.tree != network.tree
    assert list(done.changed) == [d.path for d in differences(network.tree, done.tree)]
    child = check(done.tree, network.catalog, IN_SHAPE, 7, Budget(parameters=10**7, flops=10**9))
    assert apply(done.inverse, child).tree == network.tree
    with quiet():
        real_pass(build(done.tree, network.catalog), torch.randn(IN_SHAPE), 7)
    return done.tree


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("parallel_sum", "Residual"),
        ("gated", "Gated"),
    ],
)
def test_insert_beside(row: Network, where: str, expected: str) -> None:
    tree = held(Edit(kind="insert", path="stage.0", node=CONV, where=where), row)  # type: ignore[arg-type]
    node = tree.at("stage.0")
    assert node is not None and node.module == f"llmastool.blocks.{expected}"
    assert dict(node.children)["body"] == row.tree.at("stage.0")


def test_insert_stacked_brings_the_channels_back(row: Network) -> None:
    tree = held(Edit(kind="insert", path="stage.0", node=CONV, where="parallel_concat"), row)
    node = tree.at("stage.0")
    assert modules(node) == ["Concat", "Conv2d"]
    assert node is not None and node.children[1][1].args["in_channels"] == 8


def test_insert_with_a_way_around(row: Network) -> None:
    tree = held(Edit(kind="insert", path="stage.0", node=CONV, where="residual"), row)
    assert modules(tree.at("stage")) == ["Conv2d", "Residual", "Conv2d", "Conv2d", "ReLU"]
    assert tree.at("stage.1.body") == CONV


def test_repeat_and_unrepeat_undo_each_other(row: Network) -> None:
    thrice = held(Edit(kind="repeat", path="stage.2", times=3), row)
    assert modules(thrice.at("stage")) == ["Conv2d"] * 5 + ["ReLU"]
    twice = held(Edit(kind="unrepeat", path="stage.2"), Network(thrice, row.catalog, IN_SHAPE))
    assert modules(twice.at("stage")) == ["Conv2d"] * 4 + ["ReLU"]
    assert held(Edit(kind="unrepeat", path="stage.2"), Network(twice, row.catalog, IN_SHAPE)) == row.tree


def test_what_repeats_after_a_change_of_shape_has_other_arguments(row: Network) -> None:
    tree = held(Edit(kind="repeat", path="stage.1"), row)
    copy = tree.at("stage.2")
    assert copy is not None and (copy.args["in_channels"], copy.args["stride"]) == (8, 1)


def test_repeat_where_a_constructor_made_the_slot(mined: Network) -> None:
    tree = held(Edit(kind="repeat", path="layers.0"), mined)
    assert modules(tree.at("layers.0")) and tree.at("layers.0.0") == mined.node("layers.0")


def test_wrap(row: Network) -> None:
    tree = held(Edit(kind="wrap", path="stage.0", node=Tree("llmastool.blocks.Residual")), row)
    assert tree.at("stage.0.body") == row.tree.at("stage.0")
    gate = Tree("llmastool.blocks.Gated")
    assert held(Edit(kind="wrap", path="stage.0", node=gate, inner="gate"), row).at("stage.0.gate")


def test_graft_adapts_on_both_sides(row: Network, cells: Network) -> None:
    donor = cells.slots["stage2"]
    edit = Edit(kind="graft", path="stage.0", node=cells.node("stage2"), donor_in=donor.in_shape)
    tree = held(edit, row)
    assert modules(tree.at("stage.0"))[0] == "Conv2d"
    alone = Edit(kind="graft", path="stage.0", node=cells.node("stage2"))
    with pytest.raises(EditRefused, match=r"^stage\.0: "):
        apply(alone, row)


@pytest.mark.parametrize(("factor", "width"), [("2", 8), ("1/2", 2), ("3/2", 6)])
def test_widen_goes_through_a_whole_stage(cells: Network, factor: str, width: int) -> None:
    tree = held(Edit(kind="widen", path="stage1", factor=factor), cells)
    wide = Network(tree, cells.catalog, IN_SHAPE)
    outs = {s.out_shape[1] for s in wide.profile.slots if s.out_shape and s.path.startswith("stage1.1.")}
    assert outs == {width}
    assert [s.out_shape for s in wide.profile.slots if s.path == "stage1"] == [cells.slots["stage1"].out_shape]


def test_the_downsampling_moves_along_a_row(row: Network) -> None:
    later = held(Edit(kind="move_downsampling", path="stage.1", step=1), row)
    assert [c.args.get("stride") for _, c in (later.at("stage") or later).children] == [1, 1, 2, None]
    earlier = held(Edit(kind="move_downsampling", path="stage.1", step=-1), row)
    assert [c.args.get("stride") for _, c in (earlier.at("stage") or earlier).children] == [2, 1, 1, None]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Edit(kind="repeat", path="stage.0", times=1), "expected to repeat it 2 times or more, got 1"),
        (Edit(kind="unrepeat", path="stage.0"), "what follows it is not the same"),
        (Edit(kind="widen", path="stage", factor="1/3"), "1/3 times 8 channels is no other whole number"),
        (Edit(kind="widen", path="stage", factor="1"), "1 times 8 channels is no other whole number"),
        (Edit(kind="widen", path="stage", factor="much"), "expected a factor such as 2 or 3/4, got 'much'"),
        (Edit(kind="move_downsampling", path="stage.0"), "the resolution does not fall there"),
        (Edit(kind="move_downsampling", path="stage.0", step=-1), "there is no slot before it"),
        (Edit(kind="wrap", path="stage.0", node=RELU), "expected a slot of ReLU, found none"),
        (Edit(kind="restore", path="stage.9.x"), "has no child|no stored node"),
        (Edit(kind="restore", path="stage.0", node=None), ""),
    ],
)
def test_what_does_not_hold_is_refused(row: Network, edit: Edit, message: str) -> None:
    if not message:
        assert modules(apply(edit, row).tree.at("stage")) == ["Conv2d", "Conv2d", "ReLU"]
        return
    with pytest.raises(EditRefused, match=rf"^{edit.path}: .*({message})"):
        apply(edit, row)


def test_a_shared_module_is_not_moved_from_under_its_other_place(catalog: Catalog) -> None:
    layer = Tree("torch.nn.Linear", {"in_features": 4, "out_features": 4})
    tree = Tree(
        "torch.nn.Sequential",
        {},
        (
            ("0", Tree("torch.nn.Flatten")),
            ("1", Tree("torch.nn.Linear", {"in_features": 768, "out_features": 4})),
            ("2", layer),
            ("3", RELU),
            ("4", Tree("same", {"path": "2"})),
            ("5", Tree("torch.nn.Linear", {"in_features": 4, "out_features": 7})),
        ),
    )
    network = Network(tree, catalog, IN_SHAPE)
    with pytest.raises(EditRefused, match=r"^1: the module at 2 stands at 5 too"):
        apply(Edit(kind="insert", path="1", node=RELU), network)
    both = held(Edit(kind="insert", path="5", node=Tree("torch.nn.Identity"), where="before"), network)
    assert both.at("4") == Tree("same", {"path": "2"})
