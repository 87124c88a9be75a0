"""What an option is worth as the next pick of a round, with a posterior and without one."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from llmastool.planner.objective import Steps, lead
from llmastool.planner.pool import Pool
from llmastool.planner.space import Coordinates, distances
from llmastool.planner.table import Floats
from llmastool.planner.warp import Warp


class Scores(Protocol):
    """The worth of all options, given the picks so far."""

    def values(self) -> Floats:
        """Return the worth of every option, shape `(options,)`."""
        ...

    def take(self, index: int) -> None:
        """Take an option as picked."""
        ...


class Improvement:
    """Expected improvement over the incumbent, up to what can be reached; picks are believed at their mean.

    Without a ceiling, what little is known of would promise accuracies of more than 100 %, and be tried for it.
    """

    def __init__(self, pool: Pool, best: float, ceiling: float) -> None:
        """Take the options, the largest posterior mean so far, and the largest value that there is, in warped units."""
        self._pool, self._best, self._ceiling = pool, best, max(best, ceiling)

    def values(self) -> Floats:
        """Return the worth in warped units."""
        beyond = self._pool.expected_improvement(self._ceiling)
        return np.maximum(self._pool.expected_improvement(self._best) - beyond, 0.0)

    def take(self, index: int) -> None:
        """Condition on the pick; from now on it must be exceeded as well."""
        self._pool.believe(index)
        self._best = min(max(self._best, float(self._pool.mean[index])), self._ceiling)


class Net:
    """Expected improvement of accuracy less a known price."""

    def __init__(self, pool: Pool, warp: Warp, prices: Floats, best: float) -> None:
        """Take the options, their prices, and the best accuracy less its price so far, in percentage points."""
        self._pool, self._warp = pool, warp
        self._prices, self._best = prices, best

    def values(self) -> Floats:
        """Return the worth in percentage points."""
        return lead(self._pool, self._warp, self._best + self._prices)

    def take(self, index: int) -> None:
        """Condition on the pick; from now on it must be exceeded as well."""
        self._pool.believe(index)
        self._best = max(self._best, _believed(self._pool, self._warp, index) - float(self._prices[index]))


def _believed(pool: Pool, warp: Warp, index: int) -> float:
    """Return the accuracy, in percent, at which a pick is believed to come out."""
    return float(warp.invert(pool.mean[[index]])[0])


class FrontArea:
    """Expected growth of the area under the front of accuracy against the logarithm of cost."""

    def __init__(self, pool: Pool, warp: Warp, costs: Floats, steps: Steps) -> None:
        """Take the options, what each costs, and the front so far."""
        self._pool, self._warp = pool, warp
        self._costs, self._steps = costs, steps

    def values(self) -> Floats:
        """Return the worth in percentage points times the logarithm of cost."""
        leads = [lead(self._pool, self._warp, height) for height in self._steps.heights]
        return np.asarray(np.sum(self._steps.widths(self._costs) * np.stack(leads, axis=1), axis=1))

    def take(self, index: int) -> None:
        """Condition on the pick; from now on it is part of the front."""
        self._pool.believe(index)
        self._steps = self._steps.plus(float(self._costs[index]), _believed(self._pool, self._warp, index))


class Thompson:
    """A draw from the posterior (Thompson 1933); each pick has a draw of its own."""

    def __init__(self, pool: Pool, rng: np.random.Generator) -> None:
        self._pool, self._rng = pool, rng
        self._least = float(self._pool.means.min() - 10 * self._pool.deviations.max())

    def values(self) -> Floats:
        """Return the worth in warped units, 0 or more."""
        return np.maximum(self._pool.drawn(self._rng) - self._least, 0.0)

    def take(self, _: int) -> None:
        """Nothing: the next draw differs by itself."""


class Spread:
    """Farthest point first: the distance to the nearest network that was evaluated or picked."""

    def __init__(self, coordinates: Coordinates, novelty: Floats) -> None:
        self._coordinates = coordinates
        self._nearest = novelty

    def values(self) -> Floats:
        """Return the worth in units of distance."""
        return self._nearest

    def take(self, index: int) -> None:
        """Measure distances from the pick, too."""
        picked = {group: values[index : index + 1] for group, values in self._coordinates.items()}
        self._nearest = np.minimum(self._nearest, distances(picked, self._coordinates)[0])
