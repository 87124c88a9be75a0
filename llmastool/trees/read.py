"""Read a network into a tree. Constructor arguments are captured while the network is built, not guessed afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from llmastool.canonical import Json
from llmastool.errors import TreeError
from llmastool.registry.capture import Captured, Construction, capture
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog
from llmastool.trees.tree import CONTAINERS, Tree


def build_captured(tree: Tree, catalog: Catalog) -> tuple[nn.Module, Captured]:
    """Build a tree and return the constructor calls beside the network."""
    for module in tree.modules():
        catalog.load(module)  # classes have to exist before their constructors can be watched
    with capture() as captured:
        net = build(tree, catalog)
    return net, captured


def read(net: nn.Module, captured: Captured, catalog: Catalog) -> Tree:
    """Return the tree of a network that was built inside `capture()`.

    A module's children are stored only where they differ from what its constructor builds by itself.

    Raises:
        TreeError: a module is of an unknown class, or was called with arguments that cannot be written down; the
            message starts with its path.
    """
    return _read(net, captured, catalog, "")


def _read(module: nn.Module, captured: Captured, catalog: Catalog, path: str) -> Tree:
    name = catalog.name(type(module))
    if name is None:
        raise TreeError(f"{path or '<root>'}: {type(module).__qualname__} is in no registry; mine its source")
    if name in CONTAINERS:
        children = tuple((slot, _read(c, captured, catalog, _join(path, slot))) for slot, c in module.named_children())
        return Tree(name, {}, children)
    args = encode_args(module, captured, catalog, path)
    with torch.device("meta"):
        fresh, fresh_captured = build_captured(Tree(name, args), catalog)
    differing = tuple(_differences(module, captured, fresh, fresh_captured, catalog, path, ""))
    return Tree(name, args, differing)


def encode_args(module: nn.Module, captured: Captured, catalog: Catalog, path: str = "") -> dict[str, Json]:
    """Return a module's constructor arguments as JSON.

    Raises:
        TreeError: its constructor was not seen, or an argument cannot be written down.
    """
    call = captured.get(module)
    where = path or "<root>"
    if call is None or not call.complete:
        raise TreeError(f"{where}: the constructor of {type(module).__qualname__} was not seen with named arguments")

    def nested(value: nn.Module) -> Json:
        return {k: v for k, v in _read(value, captured, catalog, path).to_json().items() if k != "version"}

    try:
        return {name: catalog.encode(value, nested) for name, value in call.args.items()}
    except TypeError as error:
        raise TreeError(f"{where}: {error}") from None


def _differences(
    module: nn.Module,
    captured: Captured,
    fresh: nn.Module,
    fresh_captured: Captured,
    catalog: Catalog,
    path: str,
    prefix: str,
) -> Iterator[tuple[str, Tree]]:
    """Yield the children, at any depth, that differ from those of a freshly built twin."""
    twins = dict(fresh.named_children())
    for name, child in module.named_children():
        slot, below = _join(prefix, name), _join(path, name)
        twin = twins.get(name)
        if twin is None:
            raise TreeError(f"{below}: {type(module).__qualname__} has a child that its constructor does not make")
        if _same(child, captured, twin, fresh_captured, catalog):
            yield from _differences(child, captured, twin, fresh_captured, catalog, below, slot)
        else:
            yield slot, _read(child, captured, catalog, below)


def _same(a: nn.Module, seen_a: Captured, b: nn.Module, seen_b: Captured, catalog: Catalog) -> bool:
    """Return whether two modules are of one class and were built by equal calls."""
    name = catalog.name(type(a))
    if name != catalog.name(type(b)) or (name is None and type(a) is not type(b)):
        return False
    if name in CONTAINERS:
        return [n for n, _ in a.named_children()] == [n for n, _ in b.named_children()]
    first, second = seen_a.get(a), seen_b.get(b)
    if first is None or second is None:
        return first is second
    return _text(first) == _text(second)


def _text(call: Construction) -> str:
    """Return a text that is equal for equal calls; modules among the arguments count by their structure."""
    return repr(sorted((k, repr(v)) for k, v in call.args.items()))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
