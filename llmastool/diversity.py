"""How varied a search was, round by round: what came into use, and how far apart the networks of a round lie."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

from llmastool.canonical import Json
from llmastool.planner.features import UNKNOWN
from llmastool.trees.distance import distance, signature
from llmastool.trees.profile import Profile


@dataclass(frozen=True, kw_only=True)
class Diversity:
    """How varied a search was in one round. Networks that fell before they had a profile are left out."""

    round: int
    families: int
    """Distinct families of known modules in the networks of this round and all before."""
    modules: int
    """Distinct known modules in them."""
    distance: float | None
    """Mean distance of two networks of the round, 0 to 1 (`llmastool.trees.distance`); None where there are no two."""

    def to_json(self) -> Json:
        """Return a JSON value; `Diversity(**value)` reads it back."""
        return asdict(self)


def diversity(networks: Iterable[tuple[int, Profile | None]]) -> list[Diversity]:
    """Return how varied each round was, in order.

    Only networks of one round are compared, which takes a second or two for 500 in rounds of 25.

    Args:
        networks: the round of every candidate, and its profile where it has one.
    """
    rounds: dict[int, list[Profile]] = {}
    for number, profile in networks:
        members = rounds.setdefault(number, [])
        if profile is not None:
            members.append(profile)
    families, modules, found = set[str](), set[str](), []
    for number, members in sorted(rounds.items()):
        slots = [slot for profile in members for slot in profile.slots]
        families |= {slot.family for slot in slots} - {UNKNOWN}
        modules |= {slot.module for slot in slots} - {""}
        far = _mean_distance(members)
        found.append(Diversity(round=number, families=len(families), modules=len(modules), distance=far))
    return found


def _mean_distance(profiles: Sequence[Profile]) -> float | None:
    pairs = itertools.combinations([signature(profile) for profile in profiles], 2)
    between = [distance(a, b) for a, b in pairs]
    return fmean(between) if between else None
