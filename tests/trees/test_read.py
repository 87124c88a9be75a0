"""Networks of every making become trees, and the trees become the same networks again, here and in an exported file."""

import importlib
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest
import torch
from torch import nn

from llmastool.errors import TreeError
from llmastool.registry.store import Registry
from llmastool.trees.agree import same_function, take_state
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog
from llmastool.trees.read import read_from
from llmastool.trees.tree import Tree
from tests.trees.bundles import make_bundle
from tests.trees.test_export import assert_same

SOURCES = {
    "pkgin": "",
    "pkgin.net": """
        import torch
        from torch import nn

        class Plain:
            def __init__(self, width, scale):
                self.width, self.scale = 2 * width, scale

        class Stack(nn.Sequential):
            pass

        class Any(nn.Module):
            def __init__(self, first, *layers, gain=1.0):
                super().__init__()
                self.first, self.layers, self.gain = first, nn.ModuleList(layers), gain
            def forward(self, x):
                x = self.first(x)
                for layer in self.layers:
                    x = layer(x)
                return self.gain * x

        class Net(nn.Module):
            def __init__(self, plain, weights=None, by_number=None, norm=nn.LayerNorm):
                super().__init__()
                self.fc = nn.Linear(plain.width, plain.width)
                self.norm = norm(plain.width)
                self.twice = nn.ModuleList([self.fc, self.norm])
                self.scale = plain.scale
                self.weights, self.by_number = weights, by_number or {}
            def forward(self, x):
                x = self.twice[1](self.twice[0](x)) * self.scale
                x = x if self.weights is None else x * self.weights
                return x * self.by_number.get(3, 1.0)
        """,
}

NAMES = ("Net", "Stack", "Any")
BUNDLES = {b.id: b for b in (make_bundle(SOURCES, f"pkgin.net.{name}") for name in NAMES)}
CATALOG = Catalog(Registry([], BUNDLES))


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The package itself, imported as its users import it."""
    root = tmp_path_factory.mktemp("originals")
    (root / "pkgin").mkdir()
    (root / "pkgin" / "__init__.py").write_text("")
    (root / "pkgin" / "net.py").write_text(dedent(SOURCES["pkgin.net"]))
    sys.path.insert(0, str(root))
    try:
        yield importlib.import_module("pkgin.net")
    finally:
        sys.path.remove(str(root))
        for name in [n for n in sys.modules if n.split(".")[0] == "pkgin"]:
            del sys.modules[name]


Factory = Callable[[ModuleType], nn.Module]


def shared_layer(_: ModuleType) -> nn.Module:
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.Sequential(nn.Tanh(), layer))


def replaced_by_shared(m: ModuleType) -> nn.Module:
    net: nn.Module = m.Net(m.Plain(2, 0.5))
    net.norm = net.fc
    return net


def one_of_two_replaced(m: ModuleType) -> nn.Module:
    net: nn.Module = m.Net(m.Plain(2, 0.5))
    net.set_submodule("twice.0", nn.Linear(4, 4, bias=False))
    return net


FACTORIES: dict[str, Factory] = {
    "a plain object among the arguments": lambda m: m.Net(m.Plain(2, 0.5)),
    "a tensor and numbers as keys": lambda m: m.Net(
        m.Plain(2, 1.5), weights=torch.arange(4.0), by_number={3: 2.0, 4: 1.0}
    ),
    "a class among the arguments": lambda m: m.Net(m.Plain(2, 1.0), norm=nn.RMSNorm),
    "any number of arguments": lambda m: m.Any(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), gain=0.5),
    "no argument of any number": lambda m: m.Any(nn.Linear(4, 3), gain=0.5),
    "a container's subclass": lambda m: m.Stack(nn.Linear(4, 3), nn.Tanh()),
    "a container's subclass by names": lambda m: m.Stack(OrderedDict(a=nn.Linear(4, 3), b=nn.Tanh())),
    "containers by names": lambda m: nn.Sequential(OrderedDict(a=m.Stack(nn.Linear(4, 4)), b=nn.Tanh())),
    "a layer at several places": shared_layer,
    "a layer put to a second place": replaced_by_shared,
    "one of two places replaced": one_of_two_replaced,
    "a shared layer inside an argument": lambda m: m.Any(shared_layer(m), nn.ReLU()),
}


@pytest.mark.parametrize("name", FACTORIES)
def test_what_is_read_is_built_again(originals: ModuleType, name: str) -> None:
    net, tree = read_from(lambda: FACTORIES[name](originals), CATALOG)
    again = Tree.from_json(tree.to_json())
    assert again == tree
    built = build(again, CATALOG)
    paths = {path: module for path, module in net.named_modules(remove_duplicate=False)}
    theirs = {path: module for path, module in built.named_modules(remove_duplicate=False)}
    assert paths.keys() == theirs.keys()
    assert all((paths[a] is paths[b]) == (theirs[a] is theirs[b]) for a in paths for b in paths)
    take_state(built, net)
    assert same_function(net, built, torch.randn(2, 4))


@pytest.mark.parametrize("name", FACTORIES)
def test_what_is_read_is_exported(originals: ModuleType, name: str, tmp_path: Path) -> None:
    _, tree = read_from(lambda: FACTORIES[name](originals), CATALOG)
    assert_same(tree, BUNDLES, (2, 4), tmp_path)


def test_a_class_of_an_imported_package_is_the_mined_one(originals: ModuleType) -> None:
    _, tree = read_from(lambda: originals.Net(originals.Plain(2, 0.5)), CATALOG)
    assert tree.module == CATALOG.by_name("pkgin.net.Net")
    home = tree.module
    assert tree.args["plain"] == {"$object": {"class": f"{home}:pkgin.net.Plain", "state": {"width": 4, "scale": 0.5}}}
    assert tree.children == ()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (Tree("same", {"path": "a"}), "^<root>: a shared module needs a network around it"),
        (
            Tree("torch.nn.Sequential", {}, (("0", Tree("same", {"path": "1.x"})),)),
            r"^0: expected the module at '1\.x', but nothing stands there",
        ),
        (
            Tree("torch.nn.Sequential", {}, (("a", Tree("torch.nn.Sequential", {}, (("b", Tree("same", {"path": "a"})),))),)),
            r"^a\.b: a module cannot stand within itself, at 'a'",
        ),
        (Tree("torch.nn.Sequential", {}, (("0", Tree("same", {"path": "0"})),)), "^0: a module cannot stand within"),
    ],
)  # fmt: skip
def test_sharing_that_cannot_be_is_refused(tree: Tree, message: str) -> None:
    with pytest.raises(TreeError, match=message):
        build(tree, CATALOG)


@pytest.mark.parametrize("args", [{}, {"path": 3}, {"path": "a", "more": 1}])
def test_a_shared_node_has_a_path_and_nothing_else(args: dict[str, object]) -> None:
    with pytest.raises(TreeError, match=r"^a: expected the node `same` with a path and nothing else"):
        Tree.from_json(
            {"version": 1, "module": "torch.nn.Sequential", "children": [["a", {"module": "same", "args": args}]]}
        )


def test_what_cannot_be_written_down_is_named_by_its_path(originals: ModuleType) -> None:
    def closure() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 4), originals.Net(originals.Plain(2, 1.0), norm=lambda _: nn.Identity()))

    with pytest.raises(TreeError, match=r"^1: <function .* cannot be written as an argument: it has no name"):
        read_from(closure, CATALOG)


def test_other_state_is_not_taken_for_the_same() -> None:
    with pytest.raises(ValueError, match=r"\['bias'\] are lacking"):
        take_state(nn.Linear(2, 2, bias=False), nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"weight: expected shape \(2, 3\), got \(2, 2\)"):
        take_state(nn.Linear(2, 2), nn.Linear(3, 2))
