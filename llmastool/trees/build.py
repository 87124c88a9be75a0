"""Build a tree: every node's own constructor first, then its stored children, in order, depth first.

Parameters are initialised in that order, so that one seed gives one set of weights, here and in the exported file.
"""

from __future__ import annotations

from torch import nn

from llmastool.canonical import Json
from llmastool.errors import TreeError
from llmastool.trees.catalog import Catalog
from llmastool.trees.tree import Tree, from_body


def build(tree: Tree, catalog: Catalog) -> nn.Module:
    """Return the network that a tree stands for, in train mode.

    Raises:
        TreeError: a constructor refuses its arguments, or a slot does not exist; the message starts with the path.
        RegistryError: the catalog lacks a module.
    """
    return _build(tree, catalog, "")


def _build(tree: Tree, catalog: Catalog, path: str) -> nn.Module:
    net = _construct(tree, catalog, path)
    for slot, child in tree.children:
        below = f"{path}.{slot}" if path else slot
        built = _build(child, catalog, below)
        if tree.is_container:
            net.add_module(slot, built)
        else:
            _put(net, slot, built, below)
    return net


def _construct(tree: Tree, catalog: Catalog, path: str) -> nn.Module:
    cls = catalog.find(tree.module)

    def nested(body: Json) -> nn.Module:
        return _build(from_body(body, path), catalog, path)

    try:
        return cls(**{name: catalog.decode(value, tree.module, nested) for name, value in tree.args.items()})
    except Exception as error:
        raise TreeError(
            f"{path or '<root>'}: {tree.module} cannot be built: {type(error).__name__}: {error}"
        ) from error


def _put(net: nn.Module, slot: str, built: nn.Module, path: str) -> None:
    try:
        net.get_submodule(slot)
    except AttributeError:
        raise TreeError(f"{path}: expected a slot of {type(net).__name__}, found none of that name") from None
    net.set_submodule(slot, built)
