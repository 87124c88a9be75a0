"""Successive halving: every candidate is trained a little, and only what does well there is trained on.

After so many epochs a candidate is compared with all that came as far before it, and goes on if it is among the best
(Jamieson & Talwalkar 2016; the rule without waiting for others, Li et al. 2020). What is compared is what each is
expected to end at, its parent's curve in view (`llmastool.curves`). What goes on goes on from its checkpoint: what is
trained to the end is trained as it would have been without. The start population always is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llmastool.config import require

FEWEST_CURVES = 6
"""Trainings to the end after which curves say something about others."""


@dataclass(frozen=True, kw_only=True)
class HalvingConfig:
    """When trainings are compared, and which of them go on."""

    rungs: tuple[int, ...] = ()
    """Epochs after which candidates are compared, ascending; empty trains every candidate to the end."""
    keep: float = 1 / 3
    """Share of all candidates that came to a rung which goes on from there, between 0 and 1."""
    chance: float = 0.0
    """Least probability of becoming the best with which a candidate goes on, judged by the curves of what was trained
    to the end; 0 does not ask."""

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip((0, *self.rungs), self.rungs, strict=False))
        require(rising, "rungs", "numbers of epochs, 1 or more, ascending", self.rungs)
        require(0 < self.keep < 1, "keep", "a share between 0 and 1", self.keep)
        require(0 <= self.chance < 1, "chance", "a probability from 0 to below 1", self.chance)


def going_on(
    config: HalvingConfig, arrived: Mapping[str, float], among: Sequence[str], curves: Sequence[tuple[float, float]]
) -> list[str]:
    """Return which of some candidates are trained on from a rung, in their order.

    Args:
        config: the rule.
        arrived: validation accuracy to end at, in percent, of all candidates that came to the rung: expected, or known.
        among: ids of those that are decided about.
        curves: for each candidate that was trained to the end: what was expected at this rung, and what came.
    """
    places = math.ceil(config.keep * len(arrived))
    ranked = sorted(arrived, key=lambda candidate: -arrived[candidate])[:places]
    best = max((end for _, end in curves), default=-math.inf)
    return [
        candidate
        for candidate in among
        if candidate in ranked and chance(arrived[candidate], curves, best) >= config.chance
    ]


def chance(accuracy: float, curves: Sequence[tuple[float, float]], best: float) -> float:
    """Return the probability that a candidate ends above `best`, by a Bayesian regression of ends on beginnings.

    With the reference prior the prediction is a t distribution (Gelman et al. 2013, ch. 14). With fewer than
    `FEWEST_CURVES` the answer is 1: nothing is known.

    Args:
        accuracy: what the candidate is expected to end at, in percent.
        curves: what was expected and what came, of those that were trained to the end.
        best: what to exceed, in percent.
    """
    if len(curves) < FEWEST_CURVES:
        return 1.0
    from scipy import stats

    x, y = np.array(curves).T
    spread = float(((x - x.mean()) ** 2).sum())
    if spread == 0:
        return 1.0
    slope = float(((x - x.mean()) * (y - y.mean())).sum()) / spread
    rest = y - y.mean() - slope * (x - x.mean())
    freedom = len(x) - 2
    variance = float((rest**2).sum()) / freedom * (1 + 1 / len(x) + (accuracy - x.mean()) ** 2 / spread)
    expected = y.mean() + slope * (accuracy - x.mean())
    if variance == 0:
        return float(expected > best)
    return float(stats.t.sf(best, freedom, loc=expected, scale=math.sqrt(variance)))
