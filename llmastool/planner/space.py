"""From named features to coordinates whose distances mean something: scaled by what was seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llmastool.planner.features import GROUPS, SIZES, Features

Floats = NDArray[np.float64]
"""An array of numbers."""

Coordinates = Mapping[str, Floats]
"""By group: coordinates, shape `(networks, columns)`. Columns unknown to the space come last."""

UNSEEN_SCALE = 0.5
"""What counts as one standard deviation in a column that did not vary so far. A first module of a family adds
log(2) = 0.69 to its count, so something new is at 1.4."""

LEAST_SCALE = 0.1
"""Smallest standard deviation of a column that varied, so that a hair's breadth does not become a mile."""


@dataclass(frozen=True)
class Column:
    """How one named feature is scaled."""

    name: str
    mean: float
    scale: float
    usual: float = 0.0
    """Median size that was seen, by which others are measured; 0 for what is no size."""

    def value(self, features: Mapping[str, float]) -> float:
        """Return the number that is scaled: of a size, `log(1 + size / usual)`, by which small ones differ little."""
        found = features.get(self.name, 0.0)
        return math.log1p(math.expm1(found) / self.usual) if self.usual else found


@dataclass(frozen=True)
class FeatureSpace:
    """Coordinates for networks: z-scores by column, each group divided by the square root of its width.

    Hence two networks lie about `sqrt(2)` apart in every group, however many columns it has. A column that is the same
    in all that was seen is 0 there, and still tells a network apart in which it is not the same.
    """

    columns: Mapping[str, tuple[Column, ...]]
    """By group, in the order of the coordinates."""

    @staticmethod
    def fit(seen: Sequence[Features]) -> FeatureSpace:
        """Scale by the networks seen so far.

        Raises:
            ValueError: `seen` is empty.
        """
        if not seen:
            raise ValueError("FeatureSpace.fit: expected the features of 1 network or more, got none")
        columns = {}
        for group in GROUPS:
            names = sorted({name for features in seen for name in features[group]})
            usual = [_usual(name, [features[group] for features in seen]) if group == "cost" else 0.0 for name in names]
            plain = [Column(name, 0.0, 1.0, size) for name, size in zip(names, usual, strict=True)]
            values = np.array([[column.value(features[group]) for column in plain] for features in seen])
            spread = values.std(axis=0)
            varied = spread > 1e-9
            scales = np.where(varied, np.maximum(spread, LEAST_SCALE), UNSEEN_SCALE)
            # The mean of equal numbers can differ from them by rounding; a constant column must be exactly 0.
            means = np.where(varied, values.mean(axis=0), values[0])
            columns[group] = tuple(
                replace(column, mean=float(mean), scale=float(scale))
                for column, mean, scale in zip(plain, means, scales, strict=True)
            )
        return FeatureSpace(columns)

    def transform(self, networks: Sequence[Features]) -> dict[str, Floats]:
        """Return the coordinates of some networks, by group.

        A feature never seen before gets a column after the known ones: 0 in all that was seen, at a fixed scale.
        Such columns are comparable within one call only.
        """
        coordinates = {}
        for group, known in self.columns.items():
            names = {column.name for column in known}
            new = sorted({name for features in networks for name in features[group]} - names)
            columns = (*known, *(Column(name, 0.0, UNSEEN_SCALE) for name in new))
            values = np.array(
                [[(c.value(features[group]) - c.mean) / c.scale for c in columns] for features in networks],
                dtype=np.float64,
            ).reshape(len(networks), len(columns))
            coordinates[group] = values / max(len(known), 1) ** 0.5
        return coordinates


def _usual(name: str, seen: Sequence[Mapping[str, float]]) -> float:
    return float(np.expm1(np.median([features[name] for features in seen]))) if name in SIZES else 0.0


def align(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Pad the narrower of two coordinate arrays with zero columns: the columns that it knows nothing of."""
    width = max(a.shape[1], b.shape[1])
    first, second = (np.pad(x, ((0, 0), (0, width - x.shape[1]))) for x in (a, b))
    return first, second


def squared_distances(a: Coordinates, b: Coordinates, groups: Sequence[str]) -> Floats:
    """Return squared distances, averaged over `groups`, shape `(networks of a, networks of b)`.

    Columns that the space does not know must all come from one call of `transform`.
    """
    total = np.zeros((len(a[groups[0]]), len(b[groups[0]])))
    for group in groups:
        x, y = align(a[group], b[group])
        total += np.sum(x**2, axis=1)[:, None] + np.sum(y**2, axis=1)[None, :] - 2 * x @ y.T
    # What rounding leaves of a distance of 0 must be 0, or a seen network would pass for a new one.
    return np.where(total > 1e-10, total / len(groups), 0.0)


def distances(a: Coordinates, b: Coordinates) -> Floats:
    """Return distances over all groups, shape `(networks of a, networks of b)`; about `sqrt(2)` is usual."""
    return np.sqrt(squared_distances(a, b, GROUPS))
