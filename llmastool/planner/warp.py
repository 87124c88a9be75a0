"""A monotone warp of accuracies: a straight line in the upper half, where it matters, and compressed below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmastool.planner.table import Floats

LEAST_SCALE = 0.1
"""Smallest unit of the warp, in percentage points: smaller differences are taken for noise."""

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(21)


@dataclass(frozen=True)
class Warp:
    """Accuracy in percent to and from warped units, in which what was observed has mean 0 and standard deviation 1.

    With `t = (accuracy - median) / scale`, where `scale` is the root mean square of the upper half's lead over the
    median, the warp is `t` from the median upwards and `-log(1 - t)` below it: a network that failed to learn must not
    bend the model where the good ones are. It is strictly monotone, and has an inverse everywhere.
    """

    median: float
    scale: float
    mean: float
    sd: float

    @staticmethod
    def fit(accuracies: Floats | Sequence[float]) -> Warp:
        """Fit to the accuracies observed, in percent, 1 or more; equal ones get a scale of `LEAST_SCALE`."""
        values = np.asarray(accuracies, dtype=np.float64)
        median = float(np.median(values))
        lead = values[values > median] - median
        scale = max(float(np.sqrt(np.mean(lead**2))) if lead.size else 0.0, LEAST_SCALE)
        bent = _bend((values - median) / scale)
        sd = float(bent.std())
        return Warp(median, scale, float(bent.mean()), sd if sd > 1e-9 else 1.0)

    def apply(self, accuracies: Floats | Sequence[float]) -> Floats:
        """Return accuracies, in percent, in warped units."""
        values = np.asarray(accuracies, dtype=np.float64)
        return (_bend((values - self.median) / self.scale) - self.mean) / self.sd

    def invert(self, warped: Floats) -> Floats:
        """Return warped values as accuracies in percent, cut to -100 to 100."""
        bent = warped * self.sd + self.mean
        # Below -50 the inverse is far under any accuracy; the cut keeps the exponential finite.
        t = np.where(bent >= 0, bent, -np.expm1(-np.clip(bent, -50.0, 0.0)))
        return np.clip(t * self.scale + self.median, -100.0, 100.0)

    def points(self, mean: Floats, sd: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation, in percent, of accuracies that are normal in warped units.

        By Gauss-Hermite quadrature with 21 nodes. A mixture is approximated by the normal of its mean and spread.
        """
        nodes = self.invert(mean[:, None] + sd[:, None] * _NODES[None, :])
        weights = _WEIGHTS / _WEIGHTS.sum()
        average = np.clip(nodes @ weights, -100.0, 100.0)
        return average, np.sqrt(np.maximum((nodes - average[:, None]) ** 2 @ weights, 0.0))


def _bend(t: Floats) -> Floats:
    return np.where(t >= 0, t, -np.log1p(np.maximum(-t, 0.0)))
