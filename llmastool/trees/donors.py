"""Donors: subtrees of other networks, found by what passes through them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from llmastool.errors import TreeError
from llmastool.trees.axes import layout_of, sizes_of
from llmastool.trees.observe import Network
from llmastool.trees.profile import Layout, Shape, Slot
from llmastool.trees.tree import SAME, Tree

_Key: TypeAlias = tuple[Layout, Layout, tuple[Fraction, ...], bool]


@dataclass(frozen=True)
class Donor:
    """A subtree with slots of its own, in the network that it comes from."""

    network: Network
    slot: Slot

    def node(self) -> Tree | None:
        """Return it as a tree of its own; None where it cannot be written down, or shares modules with the rest."""
        try:
            node = self.network.node(self.slot.path)
        except TreeError:
            return None
        return None if any(n.module == SAME for _, n in node.walk()) else node


class Donors:
    """All subtrees of some networks that have slots and parameters, by layout and by what they do to the resolution."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._found: dict[_Key, dict[str, list[Donor]]] = {}
        for network in networks:
            for slot in network.profile.slots:
                key = _key(slot.in_shape, slot.out_shape)
                if key is not None and slot.parameters and not slot.leaf:
                    self._found.setdefault(key, {}).setdefault(slot.family, []).append(Donor(network, slot))

    def between(self, in_shape: Shape, out_shape: Shape) -> Mapping[str, list[Donor]]:
        """Return, by family, the subtrees that do to a resolution what lies between two shapes."""
        key = _key(in_shape, out_shape)
        return self._found.get(key, {}) if key is not None else {}


def _key(in_shape: Shape | None, out_shape: Shape | None) -> _Key | None:
    if in_shape is None or out_shape is None:
        return None
    before, after = layout_of(in_shape), layout_of(out_shape)
    if before is None or after is None:
        return None
    old, new = sizes_of(in_shape, before), sizes_of(out_shape, after)
    if len(old) == len(new):
        return before, after, tuple(Fraction(n, o) for o, n in zip(old, new, strict=True)), True
    return before, after, tuple(map(Fraction, new)), False
