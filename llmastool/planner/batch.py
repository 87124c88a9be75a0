"""The batch rules: which options may still be picked in a round, and which are owed a fair trial."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmastool.planner.plan import Option, Record
from llmastool.planner.space import Floats


class Batch:
    """The picks of one round.

    No option twice; not more than half of the picks (rounded up) on one parent; not twice the same kind of edit at the
    same slot of a parent. The last two yield, in this order, where nothing else is left.
    """

    def __init__(self, options: Sequence[Option], n: int, records: Sequence[Record]) -> None:
        self._options = options
        self._per_parent = math.ceil(n / 2)
        plans = [record.plan for record in records if record.plan is not None]
        self.families = Counter(str(plan["family"]) for plan in plans)
        """Trials by family: all that were evaluated, fallen ones too, and the picks of this round."""
        self.kinds = Counter(str(plan["kind"]) for plan in plans)
        """The same by kind of edit."""
        self.picks: list[int] = []
        """Positions of the picks, in order."""

    def allowed(self) -> NDArray[np.intp]:
        """Return the positions of the options that may be picked next; empty when there is none left."""
        left = [i for i in range(len(self._options)) if i not in self.picks]
        parents = Counter(self._options[i].parent for i in self.picks)
        places = {self._place(i) for i in self.picks}
        fresh = [i for i in left if self._place(i) not in places]
        strict = [i for i in fresh if parents[self._options[i].parent] < self._per_parent]
        return np.array(strict or fresh or left, dtype=np.intp)

    def best(self, scores: Floats) -> int:
        """Return the allowed option of the highest score; ties go to the earlier."""
        allowed = self.allowed()
        return int(allowed[np.argmax(scores[allowed])])

    def owed(self, scores: Floats, novelty: Floats) -> int:
        """Return the allowed option whose family, then kind, was tried least; of these the highest score.

        An option of novelty 0 teaches nothing about its family, and waits until nothing else is left.
        """

        def rank(i: int) -> tuple[bool, int, int, float]:
            option = self._options[i]
            trials = self.families[option.family], self.kinds[option.kind]
            return bool(novelty[i] == 0), *trials, -float(scores[i])

        return min((int(i) for i in self.allowed()), key=rank)

    def add(self, index: int) -> None:
        """Pick an option."""
        option = self._options[index]
        self.picks.append(index)
        self.families[option.family] += 1
        self.kinds[option.kind] += 1

    def _place(self, index: int) -> tuple[str, str, str]:
        option = self._options[index]
        return option.parent, option.slot, option.kind
