"""Networks observed part by part."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from llmastool.errors import RegistryError, TreeError
from llmastool.recent import Recent
from llmastool.start import skeleton
from llmastool.start_config import Skeleton
from llmastool.trees import parts
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog
from llmastool.trees.observe import Network, out_shape
from llmastool.trees.part import Part, Signal
from llmastool.trees.parts import observe
from llmastool.trees.tree import Tree

IN_SHAPE = (2, 3, 16, 16)
IMAGE = Signal.image(IN_SHAPE)
RELU = Tree("torch.nn.ReLU")


def row(*nodes: Tree) -> Tree:
    return Tree("torch.nn.Sequential", {}, tuple((str(i), node) for i, node in enumerate(nodes)))


def whole(tree: Tree, catalog: Catalog) -> Part:
    """Observe a network without taking it apart."""
    return parts._observed(tree, catalog, IMAGE, recalling=False)


@pytest.fixture
def trees(catalog: Catalog, mined_tree: Tree) -> list[Tree]:
    block = Tree(catalog.by_name("tiny.nets.Block"), {"in_channels": 3, "out_channels": 6, "stride": 2})
    head = row(Tree("torch.nn.AdaptiveAvgPool2d", {"output_size": 1}), Tree("torch.nn.Flatten"))
    permuted = row(Tree("llmastool.blocks.ChannelsLast"), Tree("torch.nn.LayerNorm", {"normalized_shape": 3}))
    return [
        skeleton(Skeleton(channels=4, cells=2, stages=2), 3, 7),
        mined_tree,
        row(row(block, row(RELU)), RELU, head),
        row(permuted, RELU, Tree("llmastool.blocks.ChannelsFirst")),
    ]


def test_the_parts_show_what_the_whole_shows(catalog: Catalog, trees: list[Tree]) -> None:
    for tree in trees:
        assert observe(tree, catalog, IMAGE) == whole(tree, catalog)


def test_only_the_part_that_changed_is_built_again(catalog: Catalog, trees: list[Tree], built: list[Tree]) -> None:
    observe(trees[0], catalog, IMAGE)
    built.clear()
    edited = trees[0].with_node(
        "stage1.1", Tree("torch.nn.Conv2d", {"in_channels": 4, "out_channels": 4, "kernel_size": 1, "groups": 4})
    )
    observe(edited, catalog, IMAGE)
    assert [tree.module for tree in built] == ["torch.nn.Conv2d"]


def test_a_part_is_told_how_its_input_lies_in_memory(catalog: Catalog) -> None:
    unflatten = Tree("torch.nn.Unflatten", {"dim": 1, "unflattened_size": {"$tuple": [4, 4]}})
    tree = row(Tree("llmastool.blocks.MapToTokens"), Tree("llmastool.blocks.TokensToMap", {"height": 16, "width": 16}))
    assert observe(tree, catalog, IMAGE).out == whole(tree, catalog).out
    with pytest.raises(TreeError):  # 256 tokens are not 4 x 4: an error names its path, nested as it is
        observe(row(RELU, row(Tree("llmastool.blocks.MapToTokens"), unflatten)), catalog, IMAGE)


def test_shared_modules_are_looked_at_as_a_whole(catalog: Catalog) -> None:
    conv = Tree("torch.nn.Conv2d", {"in_channels": 3, "out_channels": 3, "kernel_size": 1})
    found = observe(row(conv, Tree("same", {"path": "0"})), catalog, IMAGE)
    assert (found.parameters, [s.calls for s in found.slots]) == (12, [1, 2])


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (Tree("torch.nn.Linear", {"in_features": 5, "out_features": 2}), TreeError, r"^1\.0: forward fails: "),
        (Tree("torch.nn.Conv2d", {"in_channels": 3}), TreeError, r"^1\.0: torch.nn.Conv2d cannot be built: "),
        (Tree("nowhere.Net"), RegistryError, r"^1\.0: nowhere.Net: expected a module of torch"),
    ],
)
def test_errors_name_the_path_in_the_whole_tree(
    catalog: Catalog, bad: Tree, error: type[Exception], message: str
) -> None:
    for _ in range(2):  # what is remembered says the same
        with pytest.raises(error, match=message):
            Network(row(RELU, row(bad)), catalog, IN_SHAPE)
    with pytest.raises(TreeError, match=r"^it does not take an input of shape \(2, 3, 16, 16\): "):
        out_shape(bad, catalog, IN_SHAPE)


def test_flops_are_those_of_pytorch(catalog: Catalog, trees: list[Tree]) -> None:
    attention = Tree("torch.nn.TransformerEncoderLayer", {"d_model": 3, "nhead": 1, "dim_feedforward": 8})
    found: list[int] = []
    for tree in (*trees, row(Tree("llmastool.blocks.MapToTokens"), attention)):
        with torch.device("meta"):
            net = build(tree, catalog)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(IMAGE.tensor())
        found.append(whole(tree, catalog).flops)
        assert found[-1] == counter.get_total_flops()
    assert sum(flops > 0 for flops in found) == 4


def test_what_gives_no_tensor_has_no_shape(catalog: Catalog) -> None:
    pair = Tree("torch.nn.MaxPool2d", {"kernel_size": 2, "return_indices": True})
    assert observe(pair, catalog, IMAGE).out == "tuple"
    with pytest.raises(TreeError, match=r"^<root>: expected one tensor as output, got tuple"):
        Network(row(RELU, pair), catalog, IN_SHAPE)
    with pytest.raises(TreeError, match="it gives tuple, expected one tensor"):
        out_shape(pair, catalog, IN_SHAPE)


def test_a_way_that_is_taken_in_eval_mode_alone_is_looked_at(catalog: Catalog) -> None:
    layer = Tree(
        "torch.nn.TransformerEncoderLayer",
        {"d_model": 3, "nhead": 1, "dim_feedforward": 8, "batch_first": True},
        (("norm2", row(RELU)),),
    )
    with pytest.raises(TreeError, match=r"^1: forward fails in eval mode: AttributeError: .*no attribute 'eps'"):
        observe(row(Tree("llmastool.blocks.MapToTokens"), layer), catalog, IMAGE)


def test_the_memory_forgets_what_came_first() -> None:
    made: list[int] = []

    def make(key: int) -> int:
        made.append(key)
        return key

    memory = Recent[int, int](2)
    for key in (1, 2, 1, 3, 1):
        assert memory.get(key, lambda key=key: make(key)) == key  # type: ignore[misc]
    assert made == [1, 2, 3, 1]
