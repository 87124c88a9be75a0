"""The archive: evaluated trees by cell of size, depth and dominant family, so that elites are good and unlike."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

from llmastool.planner.features import UNKNOWN, leaf_most
from llmastool.planner.plan import Record
from llmastool.trees.profile import Profile

Cell: TypeAlias = tuple[int, int, str]
"""Bin of size (a factor of about 3.2 in parameters), bin of depth (a factor of 2), dominant family."""

TOP = 2
"""So many of the best trees are elites whatever their cells."""


def cell(profile: Profile) -> Cell:
    """Return the cell of a network."""
    size = math.floor(2 * math.log10(1 + profile.parameters))
    return size, math.floor(math.log2(1 + profile.depth)), dominant_family(profile)


def dominant_family(profile: Profile) -> str:
    """Return the family whose leaf-most modules do most multiply-adds; ties go to the name that sorts first."""
    work: Counter[str] = Counter()
    for slot in leaf_most(profile.slots):
        work[slot.family] += slot.flops
    return min(work, key=lambda family: (-work[family], family)) if work else UNKNOWN


def _accuracy(accuracy: float, _: Profile) -> float:
    return accuracy


def elites(
    records: Sequence[Record], n: int, reward: Callable[[float, Profile], float] = _accuracy, top: int = TOP
) -> list[str]:
    """Return the ids of up to `n` trees worth editing, in order of rank.

    The `top` best by reward come first, then the best of every other cell, then the rest by reward. A cell whose
    best lies in the lower half of all trees is no elite's: diversity is not worth editing what has failed. A tree that
    was evaluated more than once counts with its last accuracy. Ties go to the earlier record.
    """
    last = {r.tree: r for r in usable(records)}
    # `last` holds no others; the types do not say so.
    worth = {r.tree: reward(r.accuracy, r.profile) for r in last.values() if r.profile and r.accuracy is not None}
    ranked = sorted(last.values(), key=lambda record: -worth[record.tree])
    chosen = ranked[:top]
    taken = {cell(r.profile) for r in chosen if r.profile is not None}
    rest = []
    half = (len(ranked) + 1) // 2
    for rank, record in enumerate(ranked[top:], top):
        assert record.profile is not None
        place = cell(record.profile)
        if place in taken or rank >= half:
            rest.append(record)
        else:
            taken.add(place)
            chosen.append(record)
    return [record.tree for record in (*chosen, *rest)][:n]


def usable(records: Sequence[Record]) -> list[Record]:
    """Return the records of networks that were trained to a usable accuracy, in order."""
    return [record for record in records if record.profile is not None and is_usable(record.accuracy)]


def accuracies(records: Sequence[Record]) -> dict[str, float]:
    """Return the last usable accuracy of every tree that has one, in percent."""
    return {r.tree: r.accuracy for r in records if r.accuracy is not None and is_usable(r.accuracy)}


def is_usable(accuracy: float | None) -> bool:
    """Whether an accuracy is a number from -100 to 100: percent, which a price can take below 0."""
    return accuracy is not None and -100.0 <= accuracy <= 100.0
