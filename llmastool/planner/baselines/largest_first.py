"""Largest first: what a larger network alone is worth. It looks at sizes, and at no accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmastool.config import require
from llmastool.planner.baselines.common import ALL, distinct, first, report, trained
from llmastool.planner.features import live_parameters
from llmastool.planner.plan import Option, Plan, Record, Wishes
from llmastool.planner.report import Report
from llmastool.trees.profile import Profile

LARGEST = "largest first"
"""Reason of its plans."""


@dataclass(frozen=True, kw_only=True)
class LargestFirstConfig:
    """What largest first chooses from."""

    parents: int = 6
    """Largest networks that are edited, 1 or more."""
    fresh: int = 32
    """Networks drawn anew that it looks at in a round, 1 or more."""

    def __post_init__(self) -> None:
        require(self.parents >= 1, "parents", "1 or more", self.parents)
        require(self.fresh >= 1, "fresh", "1 or more", self.fresh)


class LargestFirst:
    """Takes the options of most parameters; what the output does not depend on does not count. Nothing is random."""

    def __init__(self, config: LargestFirstConfig) -> None:
        self.config = config
        self._sizes: dict[str, int] = {}

    def wishes(self, records: Sequence[Record], n: int, *, round: int) -> Wishes:
        """Wish for edits of the largest networks that were trained to the end, and for networks drawn anew."""
        del round
        sizes = {r.tree: self._size(r.tree, r.profile) for r in trained(records) if r.profile is not None}
        parents = sorted(sizes, key=lambda tree: (-sizes[tree], tree))[: self.config.parents]
        return Wishes(parents=tuple(parents), edits=ALL, fresh=max(n, self.config.fresh))

    def plan(
        self, records: Sequence[Record], options: Sequence[Option], n: int, *, round: int
    ) -> tuple[list[Plan], Report]:
        """Take options in the order of their parameters, most first; ties go by their key."""
        known = distinct(options)
        ranked = sorted(known, key=lambda option: (-self._size(option.tree, option.profile), option.key))
        return report(round, records, known, [Plan.of(option, LARGEST) for option in first(ranked, n)])

    def _size(self, tree: str, profile: Profile) -> int:
        """Return a network's size, worked out once."""
        if tree not in self._sizes:
            self._sizes[tree] = live_parameters(profile)
        return self._sizes[tree]
