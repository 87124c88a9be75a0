"""Random search: networks drawn anew, in random order."""

from __future__ import annotations

from collections.abc import Sequence

from llmastool import seeds
from llmastool.planner.baselines.common import distinct, first, report, shuffled
from llmastool.planner.plan import Option, Plan, Record, Wishes
from llmastool.planner.report import Report

RANDOM = "random search"
"""Reason of its plans."""


class RandomSearch:
    """Takes networks drawn anew, and looks at nothing that was evaluated."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def wishes(self, records: Sequence[Record], n: int, *, round: int) -> Wishes:
        """Wish for as many networks as there will be plans."""
        del records, round
        return Wishes(fresh=n)

    def plan(
        self, records: Sequence[Record], options: Sequence[Option], n: int, *, round: int
    ) -> tuple[list[Plan], Report]:
        """Take options in random order."""
        rng, known = seeds.generator(self.seed, RANDOM, round), distinct(options)
        return report(round, records, known, [Plan.of(o, RANDOM) for o in first(shuffled(known, rng), n)])
