"""The batch rules: which options may still be picked in a round, and which are owed a fair trial."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmastool.planner.plan import FRESH, Option, Record
from llmastool.planner.table import Floats, Table, View


class Batch:
    """The picks of one round.

    No option and no network twice; not more than half of the picks (rounded up) on one parent; not twice the same kind
    of edit at the same slot of a parent. The last two yield, in this order, where nothing else is left.
    """

    def __init__(
        self,
        options: Sequence[Option],
        n: int,
        records: Sequence[Record],
        table: Table | View,
        *,
        trials: int,
        pending: int = 0,
    ) -> None:
        """Begin a round.

        Args:
            options: what there is to pick from.
            n: how many will be picked.
            records: all that was evaluated.
            table: the families of all these networks.
            trials: a family is owed a trial until so many networks that hold it were evaluated.
            pending: how many of the options, the first, were picked in an earlier round.
        """
        self._options = options
        self._trials = trials
        self._per_parent = math.ceil(n / 2)
        self.families = Counter[str]()
        """Trials by family: networks that hold it, those that fell for it too, and the picks of this round."""
        for record in records:
            planned = {str(record.plan["family"])} if record.plan is not None else set()
            held = table.families(record.tree) if record.profile is not None else frozenset()
            self.families.update(planned | held)
        self.kinds = Counter(str(record.plan["kind"]) for record in records if record.plan is not None)
        """Plans by kind of edit."""
        self._table = table
        self._pending = pending
        self.picks: list[int] = []
        """Positions of the picks, in order, those of an earlier round first."""
        for index in range(pending):
            self.add(index)

    def allowed(self) -> NDArray[np.intp]:
        """Return the positions of the options that may be picked next; empty when there is none left."""
        if not self.picks:
            return np.arange(len(self._options), dtype=np.intp)
        picked = [self._options[i] for i in self.picks]
        trees, parents = {option.tree for option in picked}, Counter(map(_parent, picked[self._pending :]))
        places = set(map(_place, picked))
        left = [i for i, option in enumerate(self._options) if i not in self.picks]
        new = [i for i in left if self._options[i].tree not in trees]
        fresh = [i for i in new if _place(self._options[i]) not in places]
        strict = [i for i in fresh if parents[_parent(self._options[i])] < self._per_parent]
        return np.array(strict or fresh or new or left, dtype=np.intp)

    def best(self, scores: Floats) -> int:
        """Return the allowed option of the highest score; ties go to the earlier."""
        allowed = self.allowed()
        return int(allowed[np.argmax(scores[allowed])])

    def waiting(self) -> list[int]:
        """Return the allowed options with a family that is owed a trial."""
        return [int(i) for i in self.allowed() if self.fewest(int(i)) < self._trials]

    def owed(self, waiting: Sequence[int], scores: Floats, novelty: Floats) -> int | None:
        """Return that of some options whose family had fewest trials, of the kind tried least, of highest score.

        An option of novelty 0 teaches nothing about its family. None where there is no other.
        """
        new = [i for i in waiting if novelty[i] > 0]
        return min(new, key=lambda i: self._rank(i, scores), default=None)

    def in_turn(self, scores: Floats, novelty: Floats) -> int:
        """Return the allowed option whose family, then kind, was tried least; of these the highest score."""
        return min(map(int, self.allowed()), key=lambda i: (bool(novelty[i] == 0), *self._rank(i, scores)))

    def fewest(self, index: int) -> int:
        """Return the trials of that family in an option's network that had fewest."""
        return min(self.families[family] for family in self._held(index))

    def add(self, index: int) -> None:
        """Pick an option."""
        self.picks.append(index)
        self.families.update(self._held(index))
        self.kinds[self._options[index].kind] += 1

    def _held(self, index: int) -> frozenset[str]:
        option = self._options[index]
        return self._table.families(option.tree) | {option.family}

    def _rank(self, index: int, scores: Floats) -> tuple[int, int, int, float]:
        option = self._options[index]
        return self.fewest(index), self.families[option.family], self.kinds[option.kind], -float(scores[index])


def _parent(option: Option) -> str:
    return option.tree if option.kind == FRESH else option.parent


def _place(option: Option) -> tuple[str, ...]:
    return _parent(option), option.after, option.slot, option.kind
