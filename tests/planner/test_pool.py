from __future__ import annotations

import numpy as np
import pytest

from llmastool.planner.config import PosteriorConfig
from llmastool.planner.kernels import covariances
from llmastool.planner.pool import Pool
from llmastool.planner.posterior import Posterior, fit
from llmastool.planner.table import Floats
from tests.planner.synthetic import draw, measure, values


def _fit(thinned: int) -> Posterior:
    networks = draw(30, seed=1)[:20]
    config = PosteriorConfig(method="fit", thinned=thinned)
    return fit(values(networks), measure(networks, seed=1), seed=0, config=config)


def _exact(found: Posterior, pool: Pool, number: int) -> tuple[Floats, Floats]:
    """Mean and covariance of the noise-free values of a pool for one draw, by the book."""
    seen = found.trained.coordinates
    scales, noise = found.trained.draws.scales[number], found.trained.draws.noise[number]
    among, across, own = (
        1.0 + np.tensordot(scales**2, covariances(found.trained.kernels, a, b, 1.0), axes=1)
        for a, b in ((seen, seen), (pool.coordinates, seen), (pool.coordinates, pool.coordinates))
    )
    gain = across @ np.linalg.inv(among + noise**2 * np.eye(len(among)))
    return gain @ found.y, own - gain @ across.T


def test_a_belief_takes_the_appeal_of_copies_and_leaves_the_rest(fitted: Posterior) -> None:
    networks = draw(240, seed=1)[40:60]
    pool = fitted.pool(values([networks[0], *networks]))
    pool.believe(0)
    left = pool.share_left
    assert left[1] == pytest.approx(left[0])
    assert left[0] < 0.5
    assert np.median(left[2:]) > 0.75
    before = fitted.pool(values([networks[0], *networks])).expected_improvement(0.0)
    assert np.all(pool.expected_improvement(0.0)[:2] < before[:2])


def test_beliefs_are_those_of_conditioning() -> None:
    """For a single draw, against conditioning on all picks at once."""
    found = _fit(thinned=1)
    pool = found.pool(values(draw(30, seed=1)[20:]))
    mean, covariance = _exact(found, pool, 0)
    noise = found.trained.draws.noise[0] ** 2
    assert pool.mean == pytest.approx(mean, abs=1e-6)
    assert pool.variances[0] == pytest.approx(np.diag(covariance), abs=1e-6)
    picks: list[int] = []
    for index in (3, 7, 3, 0):
        picks.append(index)
        pool.believe(index)
        inner = covariance[np.ix_(picks, picks)] + noise * np.eye(len(picks))
        left = covariance - covariance[:, picks] @ np.linalg.inv(inner) @ covariance[picks]
        assert pool.share_left == pytest.approx(np.diag(left) / np.diag(covariance), abs=1e-6)
        assert pool.deviations[0] == pytest.approx(np.sqrt(np.diag(left)), abs=1e-6)
    assert pool.mean == pytest.approx(mean, abs=1e-6), "beliefs leave the means"


def test_beliefs_are_averaged_over_the_draws() -> None:
    found = _fit(thinned=5)
    pool = found.pool(values(draw(30, seed=1)[20:]))
    average = np.mean([_exact(found, pool, number)[1] for number in range(5)], axis=0)
    pool.believe(2)
    noise = float(np.mean(found.trained.draws.noise**2))
    left = 1 - average[2] ** 2 / (average[2, 2] + noise) / np.diag(average)
    assert pool.share_left == pytest.approx(left, abs=1e-6)


def test_draws_are_of_the_posterior() -> None:
    found = _fit(thinned=4)
    pool = found.pool(values(draw(30, seed=1)[20:24]))
    means, covariances_ = zip(*(_exact(found, pool, number) for number in range(4)), strict=True)
    mean, covariance = np.mean(means, axis=0), np.mean(covariances_, axis=0) + np.cov(np.array(means).T, bias=True)
    rng = np.random.default_rng(0)
    drawn = np.array([pool.drawn(rng) for _ in range(4000)])
    sds = np.sqrt(np.diag(covariance))
    assert np.abs((drawn.mean(axis=0) - mean) / sds).max() < 4 / np.sqrt(4000)
    assert np.abs((np.cov(drawn.T) - covariance) / np.outer(sds, sds)).max() < 0.08


def test_equal_networks_get_equal_values_in_a_draw() -> None:
    found = _fit(thinned=4)
    network, other = draw(30, seed=1)[20:22]
    pool = found.pool(values([network, other, network]))
    values_ = [pool.drawn(np.random.default_rng(seed)) for seed in range(5)]
    assert all(v[0] == pytest.approx(v[2], abs=1e-6) and abs(v[0] - v[1]) > 1e-3 for v in values_)
    assert not np.allclose(values_[0], values_[1])
