"""What the search is after: accuracy, accuracy less a price on cost, or the front of accuracy against cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmastool.planner.archive import usable
from llmastool.planner.config import ObjectiveConfig
from llmastool.planner.plan import Record
from llmastool.planner.pool import Pool
from llmastool.planner.table import Floats
from llmastool.planner.warp import Warp


def front(records: Sequence[Record], config: ObjectiveConfig) -> list[Record]:
    """Return the networks that no other one beats in accuracy and cost, the cheapest first; of equals the earlier."""
    known = [(config.of(r.profile), -(r.accuracy or 0.0), i, r) for i, r in enumerate(usable(records)) if r.profile]
    found: list[Record] = []
    for _, _, _, record in sorted(known, key=lambda row: row[:3]):
        if not found or (record.accuracy or 0.0) > (found[-1].accuracy or 0.0):
            found.append(record)
    return found


class Steps:
    """A front as steps: the accuracy that there is already at every cost, and how wide each step is.

    What a network adds to the area under the front, over the logarithm of the cost, is the sum over the steps that
    begin at its own cost of their width times its lead over their height (Emmerich et al. 2006; the cost is known, so
    that the expectation is over one number).
    """

    def __init__(self, costs: Floats, heights: Floats, low: float, high: float, floor: float) -> None:
        """Take points; of those that another one beats nothing is seen.

        Args:
            costs: of the points.
            heights: their accuracies, in percent.
            low: least cost, more than 0; what costs less counts as this.
            high: largest cost; what costs more, or was not measured, counts as this, where nothing is gained.
            floor: accuracy that is there from the start.
        """
        self._low, self._high, self._floor = low, high, floor
        kept: list[int] = []
        for i in np.lexsort((-heights, costs)):
            if heights[i] > (heights[kept[-1]] if kept else -np.inf):
                kept.append(int(i))
        self.costs, self.edges = costs[kept], np.log([low, *np.clip(costs[kept], low, high), high])
        self.heights = np.concatenate([[floor], heights[kept]])

    def widths(self, costs: Floats) -> Floats:
        """Return how much of every step lies behind these costs, shape `(networks, steps)`."""
        begin = np.maximum(self.edges[None, :-1], np.log(np.clip(costs, self._low, self._high))[:, None])
        return np.maximum(self.edges[None, 1:] - begin, 0.0)

    def plus(self, cost: float, height: float) -> Steps:
        """Return the steps with one more point."""
        costs, heights = np.append(self.costs, cost), np.append(self.heights[1:], height)
        return Steps(costs, heights, self._low, self._high, self._floor)


def lead(pool: Pool, warp: Warp, level: Floats | float) -> Floats:
    """Return how far the noise-free accuracy is expected to exceed a level, in percentage points, `(networks,)`."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(15)
    sd = pool.deviations
    total = np.zeros(pool.means.shape)
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        total += weight * np.maximum(warp.invert(pool.means + sd * node) - level, 0.0)
    return np.asarray(total.mean(axis=0))
