"""What is expected of the end by what was seen on the way."""

from __future__ import annotations

import numpy as np
import pytest

from llmastool.curves import Curve, expected


def test_nothing_is_expected_before_anything_ended() -> None:
    assert expected({"a": Curve(None, {1: 30.0}, None)}, 1) == {}
    assert expected({"a": Curve(None, {1: 30.0}, 50.0)}, 2) == {}


def test_a_child_is_as_far_from_its_parent_as_it_is_on_the_way() -> None:
    """However others begin: a slow start that ends well stays one."""
    curves = {
        "quick": Curve(None, {2: 40.0}, 57.0),
        "slow": Curve(None, {2: 30.0}, 59.0),
        "of quick": Curve("quick", {2: 41.0}, None),
        "of slow": Curve("slow", {2: 32.0}, None),
    }
    found = expected(curves, 2)
    assert found["of quick"] == pytest.approx(58.0) and found["of slow"] == pytest.approx(61.0)


def test_without_a_parent_that_ended_the_line_of_all_leads_there() -> None:
    curves = {str(x): Curve(None, {1: x}, 20 + 0.5 * x) for x in np.linspace(10, 70, 40)}
    curves["fresh"] = Curve(None, {1: 60.0}, None)
    curves["of a stopped one"] = Curve("fresh", {1: 62.0}, None)
    curves["of one unknown"] = Curve("nobody", {1: 30.0}, None)
    found = expected(curves, 1)
    assert found["fresh"] == pytest.approx(50, abs=0.5)
    assert found["of a stopped one"] == pytest.approx(found["fresh"] + 2), "as far from what its parent is expected at"
    assert found["of one unknown"] == pytest.approx(35, abs=0.5)


def test_how_much_of_a_difference_lasts_is_learned_from_pairs() -> None:
    rng = np.random.default_rng(0)
    curves = {"start": Curve(None, {1: 40.0}, 60.0)}
    for i, step in enumerate(rng.normal(0, 5, 40)):
        curves[str(i)] = Curve("start", {1: 40 + step}, 60 + 0.3 * step)
    curves["new"] = Curve("start", {1: 50.0}, None)
    assert expected(curves, 1)["new"] == pytest.approx(63, abs=0.3)


def test_it_stays_a_percentage() -> None:
    curves = {"start": Curve(None, {1: 10.0}, 90.0), "up": Curve("start", {1: 60.0}, None)}
    assert expected({**curves, "down": Curve("start", {1: -90.0}, None)}, 1)["up"] == 100.0


def test_families_that_begin_differently_are_ranked_right() -> None:
    """Accuracy on the way ranks them by family; the parent's curve takes the family out."""
    rng = np.random.default_rng(0)
    truth, curves = {}, {}
    for family, (early, end) in enumerate([(20.0, 59.0), (35.0, 56.0), (38.0, 57.0)]):
        curves[f"start {family}"] = Curve(None, {1: early}, end)
        for i, step in enumerate(rng.normal(0, 2, 20)):
            name = f"{family}-{i}"
            truth[name] = end + step
            curves[name] = Curve(f"start {family}", {1: early + step + rng.normal(0, 1)}, None)
    names = list(truth)
    ends, found = [truth[n] for n in names], expected(curves, 1)
    raw = np.corrcoef([curves[n].at[1] for n in names], ends)[0, 1]
    ours = np.corrcoef([found[n] for n in names], ends)[0, 1]
    assert raw < 0 < 0.8 < ours
