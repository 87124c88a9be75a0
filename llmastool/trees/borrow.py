"""Have a network on the meta device for one look at it, without building again what another look at it needed.

What the constructor of its root makes is kept between looks. Only what is stored in the tree is built, and put in its
place for as long as the look takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from llmastool.meta import ShapesOnly
from llmastool.modes import drawing_alike, quiet
from llmastool.registry.capture import Captured, capture
from llmastool.seeds import derive
from llmastool.trees.build import fill
from llmastool.trees.catalog import Catalog
from llmastool.trees.read import build_captured, load
from llmastool.trees.tree import Tree


@dataclass
class Borrowed:
    """A built network."""

    net: nn.Module
    captured: Captured
    """The constructor calls that made it."""
    as_it_was: bool = False
    """Whether the network was left as it had been: to be set by who borrowed it."""


@contextmanager
def borrowed(tree: Tree, catalog: Catalog) -> Iterator[Borrowed]:
    """Have the network that a tree stands for.

    What a constructor draws by chance depends on its arguments alone.

    Raises:
        TreeError: it cannot be built; the message starts with the path.
        RegistryError: the catalog lacks a module.
    """
    if tree.is_container or not tree.children or any(tree.shared()):
        with torch.device("meta"), quiet(), ShapesOnly():
            net, captured = build_captured(tree, catalog)
        yield Borrowed(net, captured)
        return
    root = Tree(tree.module, tree.args)
    load(tree, catalog)
    with torch.device("meta"), quiet(), ShapesOnly():
        known = catalog.bases.pop(root.id)
        if known is None:
            with drawing_alike(derive(0, "bases", root.id)):
                known = build_captured(root, catalog)
        net, captured = known
        with capture() as stored:
            before = fill(net, tree, catalog)
    lent = Borrowed(net, {**captured, **stored})
    yield lent
    if lent.as_it_was:
        for slot, module in reversed(before):
            net.set_submodule(slot, module)
        catalog.bases.put(root.id, known)
