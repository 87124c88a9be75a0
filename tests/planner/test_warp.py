from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmastool.planner.warp import Warp

PERCENT = st.floats(-100, 100, allow_nan=False)


@given(st.lists(PERCENT, min_size=1, max_size=30), st.lists(PERCENT, min_size=2, max_size=10))
def test_it_is_monotone_and_has_an_inverse(observed: list[float], asked: list[float]) -> None:
    warp = Warp.fit(observed)
    ordered = np.sort(asked)
    warped = warp.apply(ordered)
    assert np.all(np.isfinite(warped))
    assert np.all(np.diff(warped) >= 0)
    assert warp.invert(warped) == pytest.approx(ordered, abs=1e-6)


def test_the_upper_half_stays_straight_and_a_failure_is_compressed() -> None:
    warp = Warp.fit([1.0, 60.0, 70.0, 72.0, 74.0])
    steps = np.diff(warp.apply([70.0, 71.0, 72.0, 73.0, 74.0]))
    assert steps == pytest.approx(np.full(4, steps[0]))
    assert warp.apply([70.0])[0] - warp.apply([1.0])[0] < 10 * steps[0]


def test_equal_accuracies_warp_to_zero() -> None:
    assert Warp.fit([55.0] * 4).apply([55.0] * 4).tolist() == [0.0] * 4


def test_points_are_exact_where_the_warp_is_straight() -> None:
    warp = Warp.fit([50.0, 60.0, 70.0])
    at, unit = warp.apply([68.0]), float(np.diff(warp.apply([68.0, 69.0]))[0])
    mean, sd = warp.points(at, np.array([0.2 * unit]))
    assert mean[0] == pytest.approx(68.0)
    assert sd[0] == pytest.approx(0.2)


def test_points_stay_within_a_hundred_of_zero() -> None:
    warp = Warp.fit([97.0, 98.0, 99.0])
    mean, sd = warp.points(np.array([50.0, -500.0]), np.array([1.0, 1.0]))
    assert mean.tolist() == [100.0, -100.0]
    assert sd.tolist() == [0.0, 0.0]
