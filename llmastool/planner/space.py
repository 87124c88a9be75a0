"""From features to coordinates whose distances mean something: scaled by what was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from llmastool.planner.features import GROUPS, SIZES
from llmastool.planner.table import Floats, Values

Coordinates: TypeAlias = Mapping[str, Floats]
"""By group: coordinates, shape `(networks, columns)`. Columns that came later than others stand behind them."""

UNSEEN_SCALE = 0.5
"""What counts as one standard deviation where nothing varied so far. A first module of a family adds log(2) = 0.69 to
its count, so something new is at 1.4."""

LEAST_SCALE = 0.1
"""Smallest standard deviation of what varied, so that a hair's breadth does not become a mile."""


@dataclass(frozen=True)
class Scaling:
    """How the columns of one group become coordinates."""

    mean: Floats
    scale: Floats
    width: float
    """Square root of the number of columns that were seen."""
    usual: Floats
    """Median size, by which sizes are measured; one for each of the first columns, none where they are no sizes."""

    def apply(self, values: Floats) -> Floats:
        """Return coordinates; columns newer than the scaling are 0 in all that was seen, and scaled like the last."""
        values = np.asarray(values, dtype=np.float64).copy()
        for i, usual in enumerate(self.usual):
            # By which small sizes differ little, and large ones by how many times they are larger.
            values[:, i] = np.log1p(np.expm1(values[:, i]) / usual)
        newer = values.shape[1] - len(self.mean)
        assert newer >= 0, "a table's features from before the scaling lack columns that it knows"
        mean = np.pad(self.mean, (0, newer))
        scale = np.pad(self.scale, (0, newer), mode="edge") if len(self.scale) else np.full(newer, UNSEEN_SCALE)
        return (values - mean) / scale / self.width


@dataclass(frozen=True)
class FeatureSpace:
    """Coordinates for networks, centred and scaled by what was seen.

    Costs are z-scores. Counts of a group share one scale, the root mean square of their standard deviations: what is
    rare would otherwise weigh more than what is common. Every group is divided by the square root of its width; hence
    two networks lie about `sqrt(2)` apart in it, however many columns it has.
    """

    groups: Mapping[str, Scaling]

    @staticmethod
    def fit(seen: Values) -> FeatureSpace:
        """Scale by the networks seen so far.

        Raises:
            ValueError: there are none.
        """
        if not len(seen["cost"]):
            raise ValueError("FeatureSpace.fit: expected the features of 1 network or more, got none")
        return FeatureSpace({group: _fit(group, seen[group]) for group in GROUPS})

    def transform(self, networks: Values) -> dict[str, Floats]:
        """Return the coordinates of some networks, by group."""
        return {group: scaling.apply(networks[group]) for group, scaling in self.groups.items()}


def _fit(group: str, values: Floats) -> Scaling:
    usual = np.maximum(np.expm1(np.median(values[:, : len(SIZES)], axis=0)), 1e-9) if group == "cost" else np.zeros(0)
    identity = Scaling(np.zeros(values.shape[1]), np.ones(values.shape[1]), 1.0, usual)
    values = identity.apply(values)
    spread = values.std(axis=0)
    varied = spread > 1e-9
    seen = np.ones(values.shape[1], dtype=bool) if group == "cost" else (values != 0).any(axis=0)
    if group == "cost":
        scale = np.where(varied, np.maximum(spread, LEAST_SCALE), UNSEEN_SCALE)
    else:
        common = np.sqrt(np.mean(spread[seen] ** 2)) if varied.any() else UNSEEN_SCALE
        scale = np.full(values.shape[1], max(float(common), LEAST_SCALE))
    # The mean of equal numbers can differ from them by rounding; a constant column must be exactly 0.
    mean = np.where(varied, values.mean(axis=0), values[0] if len(values) else 0.0)
    return Scaling(mean, scale, float(max(seen.sum(), 1)) ** 0.5, usual)


def align(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Pad the narrower of two coordinate arrays with zero columns: the columns that it knows nothing of."""
    if a.shape[1] == b.shape[1]:
        return a, b
    width = max(a.shape[1], b.shape[1])
    first, second = (np.pad(x, ((0, 0), (0, width - x.shape[1]))) for x in (a, b))
    return first, second


def squared_distances(a: Coordinates, b: Coordinates, groups: Sequence[str]) -> Floats:
    """Return squared distances, averaged over `groups`, shape `(networks of a, networks of b)`."""
    total = np.zeros((len(a[groups[0]]), len(b[groups[0]])))
    for group in groups:
        x, y = align(a[group], b[group])
        total += np.sum(x**2, axis=1)[:, None] + np.sum(y**2, axis=1)[None, :] - 2 * x @ y.T
    # What rounding leaves of a distance of 0 must be 0, or a seen network would pass for a new one.
    return np.where(total > 1e-10, total / len(groups), 0.0)


def distances(a: Coordinates, b: Coordinates) -> Floats:
    """Return distances over all groups, shape `(networks of a, networks of b)`; about `sqrt(2)` is usual."""
    return np.sqrt(squared_distances(a, b, GROUPS))
