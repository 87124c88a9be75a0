"""What an option is worth as the next pick of a round, with a posterior and without one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from llmastool.planner.features import Features
from llmastool.planner.posterior import Posterior
from llmastool.planner.space import Coordinates, Floats, distances


class Scores(Protocol):
    """The worth of all options, given the picks so far."""

    def values(self) -> Floats:
        """Return the worth of every option, shape `(options,)`."""
        ...

    def take(self, index: int) -> None:
        """Take an option as picked."""
        ...


class Improvement:
    """Expected improvement over the incumbent times the probability of success; picks are believed at their mean."""

    def __init__(self, posterior: Posterior, networks: Sequence[Features], success: Floats) -> None:
        self._pool = posterior.pool(networks)
        self._best = posterior.best
        self._success = success

    def values(self) -> Floats:
        """Return the worth in warped units."""
        return self._pool.expected_improvement(self._best) * self._success

    def take(self, index: int) -> None:
        """Condition on the pick; from now on it must be exceeded as well."""
        self._pool.believe(index)
        self._best = max(self._best, float(self._pool.mean[index]))


class Spread:
    """Farthest point first: the distance to the nearest network that was evaluated or picked, times success."""

    def __init__(self, coordinates: Coordinates, novelty: Floats, success: Floats) -> None:
        self._coordinates = coordinates
        self._nearest = novelty
        self._success = success

    def values(self) -> Floats:
        """Return the worth in units of distance."""
        return self._nearest * self._success

    def take(self, index: int) -> None:
        """Measure distances from the pick, too."""
        picked = {group: values[index : index + 1] for group, values in self._coordinates.items()}
        self._nearest = np.minimum(self._nearest, distances(picked, self._coordinates)[0])
