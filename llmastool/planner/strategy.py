"""The seam between the search and what decides in it: the planner, or a baseline in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from llmastool.planner.plan import Option, Plan, Record, Wishes
from llmastool.planner.report import Report


class Strategy(Protocol):
    """Decides what to try next. It keeps no state: the same records, options and round give the same plans."""

    def wishes(self, records: Sequence[Record], n: int, *, round: int) -> Wishes:
        """Return what it wants to choose `n` plans from, given all that was evaluated, in order."""
        ...

    def plan(
        self, records: Sequence[Record], options: Sequence[Option], n: int, *, round: int
    ) -> tuple[list[Plan], Report]:
        """Choose up to `n` options of distinct keys, and say what the choice rests on."""
        ...
