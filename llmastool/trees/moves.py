"""Moves: every edit that can be tried at the slots of a network, grouped by what the planner decides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from llmastool.trees.catalog import Catalog
from llmastool.trees.donors import Donors
from llmastool.trees.fits import Fits
from llmastool.trees.observe import Network
from llmastool.trees.offers import KINDS, Here, Move
from llmastool.trees.profile import Slot


class Group(NamedTuple):
    """A coarse choice at one network: a slot, a kind of edit, a family."""

    slot: str
    kind: str
    """As in `llmastool.trees.edits.Kind`."""
    family: str
    """Family of what comes in, or of what is changed; `none` for a deletion."""


class Moves:
    """What a catalog offers at networks. What was found for one network is remembered for the next."""

    def __init__(self, catalog: Catalog) -> None:
        self.fits = Fits(catalog)

    def groups(self, network: Network, donors: Donors | None = None) -> list[Group]:
        """Return every coarse choice at a network, in a fixed order. Most of them have a move that holds.

        Args:
            network: what to edit.
            donors: subtrees that can be grafted; none if not given.
        """
        return [
            Group(slot.path, kind, family)
            for slot in network.profile.slots
            if (here := self._here(network, slot, donors)) is not None
            for kind, (families, _) in KINDS.items()
            for family in families(here)
        ]

    def drawn(
        self, group: Group, network: Network, rng: np.random.Generator, donors: Donors | None = None
    ) -> Iterator[Move]:
        """Yield the moves of a group in random order, each made when it is asked for.

        Args:
            group: one of those that `groups` returned for this network and these donors.
            network: what to edit.
            rng: draws the order, and the values of arguments that are free.
            donors: subtrees that can be grafted.
        """
        here = self._here(network, network.slots[group.slot], donors)
        draws = KINDS[group.kind][1](here, group.family) if here is not None else []
        for i in rng.permutation(len(draws)):
            move = draws[i](rng)
            if move is not None:
                yield move

    def _here(self, network: Network, slot: Slot, donors: Donors | None) -> Here | None:
        if slot.in_shape is None or slot.out_shape is None or slot.layout is None:
            return None
        return Here(network, slot, slot.in_shape, slot.out_shape, self.fits, donors or Donors())
