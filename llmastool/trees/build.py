"""Build a tree: every node's own constructor first, then its stored children, in order, depth first.

Parameters are initialised in that order, so that one seed gives one set of weights, here and in the exported file.
Modules that stand at several paths are put there at the end. No module with a setting `inplace` works in place: what it
would overwrite, another module may still need, and which stands beside it changes with every edit.
"""

from __future__ import annotations

from torch import nn

from llmastool.canonical import Json
from llmastool.errors import RegistryError, TreeError
from llmastool.trees.catalog import Catalog
from llmastool.trees.tree import POSITIONAL, SAME, Tree, from_body, join


def build(tree: Tree, catalog: Catalog) -> nn.Module:
    """Return the network that a tree stands for, in train mode.

    Raises:
        TreeError: a constructor refuses its arguments, or a slot does not exist; the message starts with the path.
        RegistryError: the catalog lacks a module.
    """
    return out_of_place(_whole(tree, catalog, ""))


def out_of_place(net: nn.Module) -> nn.Module:
    """Return a network in which no module that has the choice works in place."""
    for module in net.modules():
        if getattr(module, "inplace", None) is True:
            setattr(module, "inplace", False)  # noqa: B010 - to mypy it is a tensor or a module
    return net


def _whole(tree: Tree, catalog: Catalog, path: str) -> nn.Module:
    """Build a tree with all that it shares within; `path` is for messages."""
    net = _build(tree, catalog, path)
    for slot, target in tree.shared():
        where, stored = join(path, slot), tree.at(target)
        if slot == target or slot.startswith(f"{target}."):
            raise TreeError(f"{where}: a module cannot stand within itself, at {target!r}")
        try:
            found = net.get_submodule(target)
        except AttributeError:
            raise TreeError(f"{where}: expected the module at {target!r}, but nothing stands there") from None
        if stored is not None and stored.module == SAME:
            raise TreeError(f"{where}: expected a module at {target!r}, found one that stands for another itself")
        net.set_submodule(slot, found)
    return net


def _build(tree: Tree, catalog: Catalog, path: str) -> nn.Module:
    net = _construct(tree, catalog, path)
    for slot, child in tree.children:
        below = join(path, slot)
        # What is shared is put in at the end; until then, something has to stand there.
        built = nn.Identity() if child.module == SAME else _build(child, catalog, below)
        if tree.is_container:
            net.add_module(slot, built)
        else:
            _put(net, slot, built, below)
    return net


def fill(net: nn.Module, tree: Tree, catalog: Catalog) -> list[tuple[str, nn.Module]]:
    """Put a tree's stored children into what its root's constructor made, and return what stood there before, by slot.

    Args:
        net: what the root's constructor made.
        tree: no container, and without shared modules.
        catalog: where modules come from.

    Raises:
        TreeError: as `build` does; what was put in until then stays.
        RegistryError: the catalog lacks a module.
    """
    before = []
    for slot, child in tree.children:
        built = out_of_place(_build(child, catalog, slot))
        before.append((slot, _put(net, slot, built, slot)))
    return before


def _construct(tree: Tree, catalog: Catalog, path: str) -> nn.Module:
    if tree.module == SAME:
        raise TreeError(f"{path or '<root>'}: a shared module needs a network around it")
    try:
        cls = catalog.find(tree.module)
    except RegistryError as error:
        raise RegistryError(f"{path or '<root>'}: {error}") from None

    def nested(body: Json) -> nn.Module:
        return _whole(from_body(body, path), catalog, path)

    try:
        args = {name: catalog.decode(value, tree.module, nested) for name, value in tree.args.items()}
        return cls(*args.pop(POSITIONAL, ()), **args)
    except Exception as error:
        raise TreeError(
            f"{path or '<root>'}: {tree.module} cannot be built: {type(error).__name__}: {error}"
        ) from error


def _put(net: nn.Module, slot: str, built: nn.Module, path: str) -> nn.Module:
    """Put a module into a slot and return what stood there."""
    try:
        before = net.get_submodule(slot)
    except AttributeError:
        raise TreeError(f"{path}: expected a slot of {type(net).__name__}, found none of that name") from None
    net.set_submodule(slot, built)
    return before
