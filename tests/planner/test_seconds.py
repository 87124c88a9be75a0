from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmastool.planner.plan import Record
from llmastool.planner.seconds import expected_seconds
from llmastool.trees.profile import Profile
from tests.planner.synthetic import draw, record


def _timed(count: int, start: float, per_million: float, per_module: float, noise: float = 0.0) -> list[Record]:
    rng = np.random.default_rng(0)

    def seconds(profile: Profile) -> float:
        taken = start + per_million * profile.flops / 1e6 + per_module * profile.depth
        return taken * (1 + noise * float(rng.normal()))

    return [replace(record(n, 50.0), seconds=seconds(n.profile())) for n in draw(count, seed=0)]


def _profiles(count: int) -> list[Profile]:
    return [n.profile() for n in draw(count, seed=5)]


def test_nothing_is_known_without_times() -> None:
    untimed = [record(n, 50.0) for n in draw(4, seed=0)]
    fallen = [replace(_timed(1, 9, 1, 1)[0], accuracy=None), replace(_timed(1, 9, 1, 1)[0], profile=None)]
    for records in ([], untimed, fallen):
        assert expected_seconds(records, _profiles(3)).tolist() == [1.0, 1.0, 1.0]


def test_it_recovers_planted_prices() -> None:
    profiles = _profiles(30)
    expected = [20 + 0.5 * p.flops / 1e6 + 2 * p.depth for p in profiles]
    assert expected_seconds(_timed(12, 20, 0.5, 2), profiles) == pytest.approx(np.array(expected))
    assert expected_seconds(_timed(60, 20, 0.5, 2, noise=0.05), profiles) == pytest.approx(np.array(expected), rel=0.1)


def test_no_price_is_negative() -> None:
    small = replace(_profiles(1)[0], flops=0, depth=0)
    large = replace(small, flops=10**12, depth=10**6)
    falling = [
        replace(r, seconds=1e3 / (1 + i))
        for i, r in enumerate(sorted(_timed(9, 1, 1, 1), key=lambda r: r.seconds or 0))
    ]
    found = expected_seconds(falling, [small, large])
    assert found[1] >= found[0] > 0


def test_one_training_suffices() -> None:
    assert expected_seconds(_timed(1, 20, 0.5, 2), [draw(1, seed=0)[0].profile()])[0] == pytest.approx(
        _timed(1, 20, 0.5, 2)[0].seconds
    )
    assert np.all(expected_seconds(_timed(1, 20, 0.5, 2), _profiles(10)) > 0)
