"""The tree as a value: canonical form, hash, paths, errors."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmastool.canonical import dumps
from llmastool.errors import TreeError
from llmastool.trees.tree import Tree

NAMES = st.text("abc", min_size=1, max_size=3)
ARGS = st.dictionaries(
    NAMES, st.integers() | st.booleans() | st.text(max_size=3) | st.dictionaries(NAMES, st.integers()), max_size=3
)
MODULES = st.sampled_from(
    ["torch.nn.Sequential", "torch.nn.Conv2d", "llmastool.blocks.Residual", "pkg.Net@0123456789ab"]
)
SLOTS = st.lists(st.text("xyz", min_size=1, max_size=2), unique=True, max_size=3)
TREES = st.recursive(
    st.builds(Tree, MODULES, ARGS),
    lambda inner: st.builds(
        lambda module, args, slots, nodes: Tree(module, args, tuple(zip(slots, nodes, strict=False))),
        MODULES,
        ARGS,
        SLOTS,
        st.lists(inner, min_size=3, max_size=3),
    ),
    max_leaves=8,
)


@given(TREES)
def test_json_round_trip_keeps_value_order_and_hash(tree: Tree) -> None:
    """Order too: a search that goes on from its log must ask an LLM in the very words in which it would have asked."""
    again = Tree.from_json(json.loads(dumps(tree.to_json())))
    assert again == tree
    assert json.dumps(again.to_json()) == json.dumps(tree.to_json())
    assert again.id == tree.id
    assert hash(again) == hash(tree)


@given(TREES, TREES)
def test_ids_are_equal_only_for_equal_trees(a: Tree, b: Tree) -> None:
    assert (a.id == b.id) == (dumps(a.to_json()) == dumps(b.to_json()))


@given(TREES)
def test_every_stored_node_is_found_at_its_path_and_can_be_replaced(tree: Tree) -> None:
    new = Tree("torch.nn.Identity")
    for path, node in tree.walk():
        assert tree.at(path) == node
        assert tree.with_node(path, new).at(path) == new
        assert tree.with_node(path, node) == tree


def test_order_matters_in_containers_only() -> None:
    a, b = ("a", Tree("torch.nn.ReLU")), ("b", Tree("torch.nn.GELU"))
    assert Tree("torch.nn.Sequential", {}, (a, b)) != Tree("torch.nn.Sequential", {}, (b, a))
    assert Tree("llmastool.blocks.Residual", {}, (a, b)) == Tree("llmastool.blocks.Residual", {}, (b, a))


def test_a_node_at_a_shorter_path_takes_what_was_stored_below_it() -> None:
    tree = (
        Tree("pkg.Net@1").with_node("layer1.0.conv", Tree("torch.nn.Conv2d")).with_node("fc", Tree("torch.nn.Linear"))
    )
    assert [slot for slot, _ in tree.children] == ["fc", "layer1.0.conv"]
    new = tree.with_node("layer1.0", Tree("torch.nn.Identity"))
    assert [slot for slot, _ in new.children] == ["fc", "layer1.0"]
    assert new.with_node("layer1.0", None) == Tree("pkg.Net@1").with_node("fc", Tree("torch.nn.Linear"))


def test_references_in_arguments_are_among_the_modules() -> None:
    inner = {"module": "torch.nn.Identity", "args": {"f": {"$ref": "torch.relu"}}}
    tree = Tree(
        "a.B@1",
        {"block": {"$ref": "a.C@2"}, "list": [{"$tuple": [{"$ref": "torch.nn.ReLU"}]}], "net": {"$tree": inner}},
    )
    assert list(tree.modules()) == ["a.B@1", "a.C@2", "torch.nn.ReLU", "torch.nn.Identity", "torch.relu"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"module": "a"}, "expected a tree of version 1, got version None"),
        ({"version": 99, "module": "a"}, "got version 99"),
        ([], "got version None"),
        ({"version": 1, "module": 3}, "<root>: expected a node with a module's id"),
        ({"version": 1, "module": "a", "extra": 1}, "unknown keys \\['extra'\\]"),
        ({"version": 1, "module": "a", "children": [["x", {"module": "b", "children": [["y", 3]]}]]}, "^x.y: expected a node"),
        ({"version": 1, "module": "a", "children": [["x"]]}, "expected a child as \\[slot, node\\]"),
        ({"version": 1, "module": "a", "children": [["x", {"module": "b"}], ["x", {"module": "c"}]]}, "filled twice"),
    ],
)  # fmt: skip
def test_bad_json_names_the_path(value: object, message: str) -> None:
    with pytest.raises(TreeError, match=message):
        Tree.from_json(value)


def test_removing_what_is_not_stored_is_an_error() -> None:
    with pytest.raises(TreeError, match=r"layer1\.0: no stored node to remove"):
        Tree("pkg.Net@1").with_node("layer1.0", None)
    with pytest.raises(TreeError, match="has no child 'x'"):
        Tree("torch.nn.Sequential").with_node("x.y", Tree("torch.nn.ReLU"))
