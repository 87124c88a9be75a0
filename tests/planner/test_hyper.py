from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from llmastool.planner.hyper import DIRECTIONS, JITTER, PRIOR_NOISE, PRIOR_SCALE, Evidence, Mode
from llmastool.planner.kernels import KERNELS, WITHOUT_COSTS
from llmastool.planner.table import Floats
from llmastool.planner.warp import Warp
from tests.planner.synthetic import among, draw, evidence, measure

SETTINGS = np.array(
    [
        [-0.9, -0.9, -0.9, -0.9, -0.9, -1.2],
        [-0.3, -1.5, -0.5, 0.2, -0.6, -1.8],
        [-2.0, 0.3, -1.0, -0.4, 0.1, -0.5],
        [-1.0, -0.6, -0.6, -1.3, -1.6, -1.6],
    ]
)
"""Values of the unknowns: scales from 0.13 to 1.3, noise from 0.16 to 0.6."""


def _evidence(count: int) -> tuple[Evidence, Floats, Floats]:
    networks = draw(count, seed=1)
    accuracies = measure(networks, seed=1)
    kernels = among(networks)
    return Evidence.of(kernels, Warp.fit(accuracies).apply(accuracies)), kernels, Warp.fit(accuracies).apply(accuracies)


def _exact(kernels: Floats, y: Floats, unknowns: Floats) -> float:
    """The negative logarithm of the posterior density, by what SciPy says of normal distributions."""
    variances = np.exp(2 * unknowns)
    covariance = 1.0 + np.tensordot(variances[:-1], kernels, axes=1) + (variances[-1] + JITTER) * np.eye(len(y))
    prior = norm(*PRIOR_SCALE).logpdf(unknowns[:-1]).sum() + norm(*PRIOR_NOISE).logpdf(unknowns[-1])
    return float(-multivariate_normal(np.zeros(len(y)), covariance).logpdf(y) - prior)


@pytest.mark.parametrize("count", [40, DIRECTIONS, DIRECTIONS + 1, 200])
def test_the_gradient_is_that_of_the_energy(count: int) -> None:
    found, _, _ = _evidence(count)
    assert found.rest_count == max(count - DIRECTIONS, 0)
    for unknowns in SETTINGS:
        step = 1e-5 * np.eye(len(unknowns))
        slopes = [(found.energy(unknowns + s)[0] - found.energy(unknowns - s)[0]) / 2e-5 for s in step]
        assert found.energy(unknowns)[1] == pytest.approx(np.array(slopes), rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("count", [2, 40, DIRECTIONS])
def test_of_few_observations_the_energy_is_exact(count: int) -> None:
    found, kernels, y = _evidence(count)
    apart = [found.energy(u)[0] - _exact(kernels, y, u) for u in SETTINGS]
    assert np.ptp(apart) < 1e-6 * abs(found.energy(SETTINGS[0])[0])


def test_of_many_the_compressed_energy_is_close() -> None:
    found, kernels, y = _evidence(200)
    assert found.kernels.shape == (len(KERNELS), DIRECTIONS, DIRECTIONS)
    compressed = np.array([found.energy(u)[0] for u in SETTINGS])
    exact = np.array([_exact(kernels, y, u) for u in SETTINGS])
    assert np.ptp(exact) > 20
    assert np.diff(compressed) == pytest.approx(np.diff(exact), rel=0.2)


def test_compression_hardly_moves_the_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    compressed = Mode.find(_evidence(200)[0])
    monkeypatch.setattr("llmastool.planner.hyper.DIRECTIONS", 200)
    exact = Mode.find(_evidence(200)[0])
    sds = np.sqrt(np.diag(exact.factor @ exact.factor.T))
    assert np.abs(compressed.at - exact.at).max() > 0
    assert np.abs((compressed.at - exact.at) / sds).max() < 0.5
    assert np.sqrt(np.diag(compressed.factor @ compressed.factor.T)) == pytest.approx(sds, rel=0.4)


def test_compression_keeps_power_and_variance() -> None:
    found, kernels, y = _evidence(200)
    assert found.y @ found.y + found.rest_power == pytest.approx(y @ y)
    kept = np.trace(found.kernels, axis1=1, axis2=2) + found.rest_count * found.rest_variances
    assert kept == pytest.approx(np.trace(kernels, axis1=1, axis2=2))
    # The constant lies in the directions that are kept.
    assert np.trace(found.base) == pytest.approx(200, rel=1e-3)


@pytest.mark.parametrize("count", [2, 10, 40, 200])
def test_the_mode_is_where_the_energy_is_least(count: int) -> None:
    found, _, _ = _evidence(count)
    mode = Mode.find(found)
    least, slope = found.energy(mode.at)
    away = slope @ mode.factor
    assert np.abs(away).max() < 0.02, "a slope that matters, per standard deviation"
    for direction in mode.factor.T:
        assert min(found.energy(mode.at + direction)[0], found.energy(mode.at - direction)[0]) > least
    means, sds = found.prior()
    assert np.all((mode.at > means - 6 * sds) & (mode.at < means + 4 * sds))


def test_the_spread_at_the_mode_is_that_of_its_curvature() -> None:
    found, _, _ = _evidence(40)
    mode = Mode.find(found)
    step = 0.02 * np.eye(len(mode.at))

    def bend(a: Floats, b: Floats) -> float:
        """Second difference of the energy along two directions."""
        corners = [found.energy(mode.at + i * a + j * b)[0] * i * j for i in (-1, 1) for j in (-1, 1)]
        return sum(corners) / (4 * 0.02**2)

    curvature, axes = np.linalg.eigh([[bend(a, b) for b in step] for a in step])
    _, sds = found.prior()
    # The prior's curvature is the least that counts, where the likelihood is not concave.
    expected = (axes / np.maximum(curvature, 1 / sds.max() ** 2)) @ axes.T
    assert mode.factor @ mode.factor.T == pytest.approx(expected, rel=0.01, abs=0.01)


def test_where_nothing_is_said_the_prior_stands() -> None:
    silent = Evidence.of(np.zeros((3, 2, 2)), np.zeros(2))
    mode = Mode.find(silent)
    means, sds = silent.prior()
    assert mode.at[:-1] == pytest.approx(means[:-1], abs=1e-4)
    assert np.sqrt(np.diag(mode.factor @ mode.factor.T))[:-1] == pytest.approx(sds[:-1], rel=1e-4)


def test_spread_has_the_modes_mean_and_covariance() -> None:
    networks = draw(40, seed=1)
    mode = Mode.find(evidence(networks, measure(networks, seed=1), WITHOUT_COSTS))
    found = mode.spread(2000, seed=3)
    covariance = mode.factor @ mode.factor.T
    sds = np.sqrt(np.diag(covariance))
    assert found.shape == (2000, 5)
    # Far nearer than 2,000 independent draws would be.
    assert np.abs((found.mean(axis=0) - mode.at) / sds).max() < 0.01
    assert np.abs((np.cov(found.T) - covariance) / np.outer(sds, sds)).max() < 0.05
    assert mode.spread(2000, seed=3).tobytes() == found.tobytes()
    assert not np.allclose(mode.spread(2000, seed=4), found)
    assert [mode.spread(count, seed=0).shape for count in (1, 3, 16)] == [(1, 5), (3, 5), (16, 5)]


def test_sixteen_of_the_spread_stand_for_all() -> None:
    """The default number of kept draws: means to a quarter of a standard deviation, whatever the seed."""
    networks = draw(40, seed=1)
    mode = Mode.find(evidence(networks, measure(networks, seed=1)))
    sds = np.sqrt(np.diag(mode.factor @ mode.factor.T))
    off = [np.abs((mode.spread(16, seed).mean(axis=0) - mode.at) / sds).max() for seed in range(20)]
    assert max(off) < 0.25
