"""Local search (White et al. 2021): from the best of a few networks to the first better neighbour, and on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmastool import seeds
from llmastool.config import require
from llmastool.planner.baselines.common import ALL, accuracy, distinct, first, fresh, report, shuffled, trained
from llmastool.planner.plan import FRESH, Option, Plan, Record, Wishes
from llmastool.planner.report import Report

LOCAL = "local search"
"""Reason of its plans."""

RESTART = "local search, restart"
"""Reason of a plan that begins anew, with a network drawn anew."""


@dataclass(frozen=True, kw_only=True)
class LocalSearchConfig:
    """How local search begins."""

    start: int = 10
    """Networks trained, the start population among them, before the best of them is edited."""

    def __post_init__(self) -> None:
        require(self.start >= 1, "start", "1 or more", self.start)


class LocalSearch:
    """Edits the current network, in random order, until one is better; that is the current one from then on.

    Where no untried edit of the current one is offered, a network drawn anew is the current one. What was there
    before counts no more, but is not tried again.
    """

    def __init__(self, config: LocalSearchConfig, seed: int) -> None:
        self.config, self.seed = config, seed

    def wishes(self, records: Sequence[Record], n: int, *, round: int) -> Wishes:
        """Wish for networks drawn anew to begin with, then for all edits of the current one, and one to restart."""
        del round
        if self._is_young(records):
            return Wishes(fresh=n)
        current = _current(records)
        return Wishes(parents=(current,) if current is not None else (), edits=ALL, fresh=1)

    def plan(
        self, records: Sequence[Record], options: Sequence[Option], n: int, *, round: int
    ) -> tuple[list[Plan], Report]:
        """Take edits of the current network in random order; where there is none, one network to restart from."""
        rng, known = seeds.generator(self.seed, LOCAL, round), distinct(options)
        current = _current(records)
        if self._is_young(records):
            plans = [Plan.of(o, LOCAL) for o in first(shuffled(fresh(known), rng), n)]
        elif edits := [o for o in known if o.parent == current and o.kind != FRESH]:
            plans = [Plan.of(o, LOCAL) for o in first(shuffled(edits, rng), n)]
        else:
            plans = [Plan.of(o, RESTART) for o in first(shuffled(fresh(known), rng), min(n, 1))]
        return report(round, records, known, plans)

    def _is_young(self, records: Sequence[Record]) -> bool:
        return len(trained(records)) < self.config.start


def _current(records: Sequence[Record]) -> str | None:
    """Return the best tree since the last restart, the earliest of equals; None where none was trained since."""
    current, best = None, float("-inf")
    for record in records:
        if record.plan is not None and record.plan["reason"] == RESTART:
            current, best = None, float("-inf")
        came = accuracy(record)
        if came is not None and came > best:
            current, best = record.tree, came
    return current
