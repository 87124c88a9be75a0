"""Observe a network: what passes every slot for one input shape, and what it costs. See `llmastool.trees.parts`."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import torch
from torch import nn

from llmastool.errors import RegistryError, TreeError
from llmastool.meta import ShapesOnly
from llmastool.modes import quiet
from llmastool.registry.capture import Captured
from llmastool.trees.catalog import Catalog
from llmastool.trees.part import ROOT, Part, Signal
from llmastool.trees.parts import observe
from llmastool.trees.profile import Profile, Shape
from llmastool.trees.read import build_captured, read
from llmastool.trees.tree import Tree


class Network:
    """A tree, observed for one input shape. What edits are applied to."""

    def __init__(self, tree: Tree, catalog: Catalog, in_shape: Shape) -> None:
        """Observe.

        Args:
            tree: the network.
            catalog: where its modules come from.
            in_shape: `(batch, channels, height, width)`.

        Raises:
            TreeError: it cannot be built, or its forward fails on this shape; the message starts with the path.
            RegistryError: the catalog lacks a module.
        """
        self.tree, self.catalog = tree, catalog
        self.profile = _profile(observe(tree, catalog, Signal.image(in_shape)), in_shape)
        self.slots = {slot.path: slot for slot in self.profile.slots}

    def node(self, path: str) -> Tree:
        """Return what stands at a path as a tree of its own, whether it is stored or made by a constructor.

        Raises:
            TreeError: there is no such slot, or what stands there cannot be written down.
        """
        stored = self.tree.at(path)
        if stored is not None:
            return stored
        net, captured = self._built
        try:
            module = net.get_submodule(path)
        except AttributeError:
            raise TreeError(f"{path}: there is no such slot") from None
        return read(module, captured, self.catalog)

    @cached_property
    def _built(self) -> tuple[nn.Module, Captured]:
        """The network on the meta device, and the constructor calls that made it."""
        with torch.device("meta"), quiet(), ShapesOnly():
            return build_captured(self.tree, self.catalog)


def out_shape(tree: Tree, catalog: Catalog, in_shape: Shape) -> Shape:
    """Return the shape that a subtree alone gives for an input shape.

    Raises:
        TreeError: it cannot be built, does not take that input, or gives something other than one tensor.
    """
    try:
        part = observe(tree, catalog, Signal.image(in_shape))
    except (TreeError, RegistryError) as error:
        raise TreeError(f"it does not take an input of shape {in_shape}: {error}") from error
    if isinstance(part.out, str):
        raise TreeError(f"it gives {part.out}, expected one tensor")
    return part.out.shape


def _profile(part: Part, in_shape: Shape) -> Profile:
    if isinstance(part.out, str):
        raise TreeError(f"{ROOT}: expected one tensor as output, got {part.out}")
    largest = max(in_shape[2:], default=1)
    below = list(zip(part.slots, part.sizes, strict=True))[1:]
    slots = tuple(replace(slot, stage=_stage(largest, size)) for slot, size in below)
    return Profile(
        slots=slots,
        in_shape=in_shape,
        out_shape=part.out.shape,
        parameters=part.parameters,
        flops=part.flops // (2 * in_shape[0]),
        depth=sum(s.calls for s in slots if s.leaf and s.parameters),
        flow=part.flow.shifted(-1),
    )


def _stage(largest: int, size: int) -> int:
    """Return how often the resolution was halved before a map of this side, in positions; 0 where there is none."""
    return max(0, (largest // size).bit_length() - 1) if size else 0
