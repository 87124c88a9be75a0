"""What an edit leaves alone keeps its weights, wherever it stands afterwards."""

import pytest
import torch

from llmastool.start import skeleton
from llmastool.start_config import Skeleton
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog
from llmastool.trees.distance import distance, signature
from llmastool.trees.edits import Edit, apply
from llmastool.trees.inherit import inherit, origins
from llmastool.trees.observe import Network
from llmastool.trees.tree import Tree

IN_SHAPE = (2, 3, 16, 16)
CONV = Tree("torch.nn.Conv2d", {"in_channels": 4, "out_channels": 4, "kernel_size": 1})


@pytest.fixture(scope="module")
def cells(catalog: Catalog) -> Network:
    return Network(skeleton(Skeleton(channels=4, cells=2, stages=2), 3, 7), catalog, IN_SHAPE)


def child_of(edit: Edit, network: Network) -> tuple[set[str], set[str], torch.nn.Module, torch.nn.Module]:
    """Return which names were taken over, which were not, and both networks."""
    tree = apply(edit, network).tree
    parent, child = build(network.tree, network.catalog), build(tree, network.catalog)
    taken = set(inherit(child, parent.state_dict(), origins(network.tree, tree)))
    return taken, child.state_dict().keys() - taken, parent, child


def test_a_child_that_differs_in_one_slot_has_all_else(cells: Network) -> None:
    taken, fresh, parent, child = child_of(Edit(kind="replace", path="stem", node=Tree("torch.nn.Conv2d", {"in_channels": 3, "out_channels": 4, "kernel_size": 1})), cells)  # fmt: skip
    assert fresh == {"stem.weight", "stem.bias"}
    assert all(torch.equal(parent.state_dict()[name], child.state_dict()[name]) for name in taken)


def test_what_moves_along_a_sequence_keeps_its_weights(cells: Network) -> None:
    taken, fresh, parent, child = child_of(Edit(kind="insert", path="stage1.0", node=CONV), cells)
    assert fresh == {"stage1.1.weight", "stage1.1.bias"}
    moved = {n for n in taken if n.startswith("stage1.2.")}
    assert moved
    for name in moved:
        assert torch.equal(child.state_dict()[name], parent.state_dict()[name.replace("stage1.2.", "stage1.1.", 1)])


def test_what_is_wrapped_and_freed_keeps_its_weights(cells: Network) -> None:
    edit = Edit(kind="insert", path="stage1.0", node=CONV, where="parallel_sum")
    taken, fresh, parent, child = child_of(edit, cells)
    assert fresh == {"stage1.0.shortcut.weight", "stage1.0.shortcut.bias"}
    wrapped = [n for n in taken if n.startswith("stage1.0.body.")]
    assert wrapped
    state = parent.state_dict()
    assert all(torch.equal(child.state_dict()[n], state[n.replace("0.body.", "0.", 1)]) for n in wrapped)
    inner = Network(apply(edit, cells).tree, cells.catalog, IN_SHAPE)
    again = origins(inner.tree, cells.tree)
    assert set(inherit(build(cells.tree, cells.catalog), build(inner.tree, cells.catalog).state_dict(), again)) == set(
        state
    )


def test_a_repeated_module_takes_the_first_ones_weights_once(cells: Network) -> None:
    taken, fresh, *_ = child_of(Edit(kind="repeat", path="stage1.1"), cells)
    assert {n.split(".")[1] for n in fresh} == {"2"}
    assert {n for n in taken if n.startswith("stage1.1.")}


def test_constructors_own_modules_keep_their_weights(mined: Network) -> None:
    taken, fresh, *_ = child_of(Edit(kind="delete", path="layers.0.gate"), mined)
    assert not fresh
    assert any(n.startswith("layers.1.") for n in taken) and any(n.startswith("layers.0.") for n in taken)


def test_other_shapes_are_left_fresh(mined: Network) -> None:
    edit = Edit(kind="set_args", path="layers.0.gate", args={"reduction": 4})
    _, fresh, *_ = child_of(edit, mined)
    assert fresh and all(n.startswith("layers.0.gate.") for n in fresh)


def test_distance_grows_with_what_differs(cells: Network, mined: Network) -> None:
    base = signature(cells.profile)
    near = Network(apply(Edit(kind="insert", path="stage1.0", node=CONV), cells).tree, cells.catalog, IN_SHAPE)
    other = Edit(kind="insert", path="stage2.0", node=Tree("torch.nn.GELU"), where="parallel_sum")
    far = Network(apply(other, near).tree, cells.catalog, IN_SHAPE)
    steps = [distance(base, signature(n.profile)) for n in (cells, near, far, mined)]
    assert steps[0] == pytest.approx(0.0, abs=1e-12)
    assert 0 < steps[1] < steps[2] < steps[3] <= 1
    assert distance(signature(far.profile), base) == pytest.approx(steps[2])


def test_other_arguments_lie_closer_than_other_modules(cells: Network) -> None:
    wide = {**CONV.args, "kernel_size": 3, "padding": 1}
    slot = "stage1.0"
    signatures = [
        signature(
            Network(apply(Edit(kind="insert", path=slot, node=node), cells).tree, cells.catalog, IN_SHAPE).profile
        )
        for node in (CONV, Tree(CONV.module, wide), Tree("torch.nn.PReLU"))
    ]
    assert 0 < distance(signatures[0], signatures[1]) < distance(signatures[0], signatures[2])
