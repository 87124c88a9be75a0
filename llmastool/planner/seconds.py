"""How long a training takes, from what earlier ones took."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from llmastool.planner.plan import Record
from llmastool.planner.table import Floats
from llmastool.trees.profile import Profile


def expected_seconds(records: Sequence[Record], profiles: Sequence[Profile]) -> Floats:
    """Return the seconds that trainings are expected to take, shape `(profiles,)`; ones while nothing is known.

    A start, and a price for every multiply-add and for every module with weights, by least squares without negative
    prices; trainings that fell are left out.
    """
    timed = [(r.profile, r.seconds) for r in records if r.profile is not None and r.seconds and r.accuracy is not None]
    if not timed:
        return np.ones(len(profiles))
    prices, _ = nnls(_terms([profile for profile, _ in timed]), np.array([seconds for _, seconds in timed]))
    return np.maximum(_terms(profiles) @ prices, min(seconds for _, seconds in timed) / 10)


def _terms(profiles: Sequence[Profile]) -> Floats:
    return np.array([[1.0, profile.flops / 1e6, profile.depth] for profile in profiles])
