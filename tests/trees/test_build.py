"""Build, read back, observe."""

import pytest
import torch
from torch import nn

from llmastool.errors import RegistryError, TreeError
from llmastool.registry.capture import capture
from llmastool.trees.axes import layout_of
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog
from llmastool.trees.observe import Network
from llmastool.trees.read import build_captured, read
from llmastool.trees.tree import Tree

IN_SHAPE = (2, 3, 16, 16)


def same_function(a: nn.Module, b: nn.Module) -> bool:
    b.load_state_dict(a.state_dict())
    x = torch.randn(IN_SHAPE, generator=torch.Generator().manual_seed(0))
    return torch.equal(a.eval()(x), b.eval()(x))


def test_a_constructor_s_own_modules_are_not_stored(catalog: Catalog, mined_tree: Tree) -> None:
    net, captured = build_captured(mined_tree, catalog)
    again = read(net, captured, catalog)
    assert again == mined_tree
    assert same_function(net, build(again, catalog))


def test_what_was_changed_after_construction_is_stored(catalog: Catalog, mined_tree: Tree) -> None:
    with capture() as captured:
        net = build(mined_tree, catalog)
        net.fc = nn.Sequential(nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 7))
        net.set_submodule("layers.1.gate.fc1", nn.Conv2d(16, 8, 3, padding=1))
    tree = read(net, captured, catalog)
    assert [slot for slot, _ in tree.children] == ["fc", "layers.1.gate.fc1"]
    assert same_function(net, build(tree, catalog))


def test_arguments_are_captured_as_they_were_given(catalog: Catalog) -> None:
    block = catalog.find(catalog.by_name("tiny.nets.Block"))
    with capture() as captured:
        net = nn.Sequential(block(3, out_channels=6, stride=2, norm=nn.InstanceNorm2d), nn.Flatten())
    tree = read(net, captured, catalog)
    assert tree.children[0][1].args == {
        "in_channels": 3,
        "out_channels": 6,
        "stride": 2,
        "norm": {"$ref": "torch.nn.InstanceNorm2d"},
    }
    assert same_function(net, build(tree, catalog))


def test_one_seed_gives_one_set_of_weights(catalog: Catalog, mined_tree: Tree) -> None:
    nets = []
    for _ in range(2):
        torch.manual_seed(3)
        nets.append(build(mined_tree, catalog))
    assert all(torch.equal(a, b) for a, b in zip(*(n.state_dict().values() for n in nets), strict=True))


def test_constructors_are_left_as_they_were(catalog: Catalog, mined_tree: Tree) -> None:
    before = nn.Conv2d.__init__
    with pytest.raises(TreeError), capture():
        build(Tree(mined_tree.module, {"num_classes": "many"}), catalog)
    assert nn.Conv2d.__init__ is before


def test_a_class_from_nowhere_cannot_be_read(catalog: Catalog) -> None:
    class Stranger(nn.Module):
        pass

    with capture() as captured:
        net = nn.Sequential(Stranger())
    with pytest.raises(TreeError, match=r"^0: .*Stranger is in no registry; mine its source"):
        read(net, captured, catalog)


@pytest.mark.parametrize(
    ("tree", "error", "message"),
    [
        (Tree("torch.nn.Conv2d", {"in_channels": 1}), TreeError, "<root>: torch.nn.Conv2d cannot be built: TypeError"),
        (Tree("torch.nn.NoSuch"), RegistryError, "no such name in the installed torch"),
        (Tree("pkg.Net@123"), RegistryError, "pkg.Net@123: expected a module of torch or of the registry"),
        (Tree("torch.relu"), RegistryError, "expected a class of torch.nn.Module"),
        (
            Tree("torch.nn.Sequential", {}, (("a", Tree("torch.nn.Linear", {"in_features": -1, "out_features": 1})),)),
            TreeError,
            "^a: torch.nn.Linear cannot be built",
        ),
        (
            Tree("llmastool.blocks.Residual", {}, (("nope", Tree("torch.nn.ReLU")),)),
            TreeError,
            "^nope: expected a slot",
        ),
    ],
)
def test_what_cannot_be_built_names_the_path(
    catalog: Catalog, tree: Tree, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build(tree, catalog)


def test_a_network_is_observed_on_the_meta_device(mined: Network) -> None:
    profile = mined.profile
    real = build(mined.tree, mined.catalog)
    assert profile.out_shape == (2, 7)
    assert profile.parameters == sum(p.numel() for p in real.parameters())
    assert [s.path for s in profile.slots][:3] == ["stem", "layers", "layers.0"], "parents before children, as called"
    stem = mined.slots["stem"]
    assert (stem.in_shape, stem.out_shape) == ((2, 3, 16, 16), (2, 8, 8, 8))
    assert (stem.layout, stem.calls, stem.stage, stem.leaf) == ("NCHW", 1, 0, True)
    assert stem.parameters == 8 * 3 * 9 + 8
    assert stem.flops == 8 * 3 * 9 * 64
    assert mined.slots["layers.1"].stage == 1
    assert mined.slots["layers.1.gate"].family == "gating"
    assert mined.slots["layers.1.gate"].args == {"channels": 16}


def test_flops_are_those_of_one_image(mined: Network) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    net = build(mined.tree, mined.catalog).eval()
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, *IN_SHAPE[1:]))
    assert mined.profile.flops == counter.get_total_flops() // 2


def test_a_failing_forward_names_the_path(catalog: Catalog, mined_tree: Tree) -> None:
    broken = mined_tree.with_node(
        "layers.1", Tree("torch.nn.Conv2d", {"in_channels": 5, "out_channels": 5, "kernel_size": 1})
    )
    with pytest.raises(TreeError, match=r"^layers\.1: forward fails"):
        Network(broken, catalog, IN_SHAPE)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [((2, 8, 4, 4), "NCHW"), ((2, 4, 4, 8), "NHWC"), ((2, 4, 4, 4), "NCHW"), ((2, 9, 8), "BNC"), ((2, 8), "BC"), ((2,), None)],
)  # fmt: skip
def test_layouts_are_told_by_shape(shape: tuple[int, ...], layout: str | None) -> None:
    assert layout_of(shape) == layout
