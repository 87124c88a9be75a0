from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from llmastool.config import from_mapping
from llmastool.errors import ConfigError, LLMasToolError
from llmastool.planner import model
from llmastool.planner.features import Features, features
from llmastool.planner.kernels import KERNELS, OWNER, LowRank, design
from llmastool.planner.model import PlannerWarning, PosteriorConfig
from llmastool.planner.posterior import Posterior, fit
from llmastool.planner.space import FeatureSpace
from tests.planner.synthetic import Network, draw, measure, rank_correlation

NORMAL = statistics.NormalDist()

SHORT = PosteriorConfig(draws=100, tune=150, thinned=32)


def _features(networks: Sequence[Network]) -> list[Features]:
    return [features(n.profile()) for n in networks]


def test_it_ranks_and_covers_networks_that_it_has_not_seen(posterior: Posterior) -> None:
    held_out = draw(240, seed=1)[40:]
    came = np.array(measure(held_out, seed=1))
    mean, sd = posterior.accuracy(_features(held_out))
    assert rank_correlation(mean, came) > 0.8
    assert 0.8 <= np.mean(np.abs(came - mean) <= 1.645 * sd) <= 0.995
    assert np.mean(np.abs(came - mean)) < 0.5 * came.std()


def test_it_finds_which_family_and_which_size_matter(posterior: Posterior) -> None:
    families = [Network(("convolution",) * 3 + (f,) * 3, (2,) * 6) for f in ("depthwise", "mixer", "recurrent")]
    worth = posterior.predict(_features(families))[0]
    assert worth[0] > worth[1] > worth[2]
    middle, large = (Network(("convolution",) * 6, (width,) * 6) for width in (1, 4))
    gain = posterior.gain(_features([middle]), [posterior.accuracy(_features([large]))[0][0]])
    assert gain[0] > 0


def test_it_converged(posterior: Posterior) -> None:
    found = posterior.diagnostics
    assert found.method == "nutpie"
    assert found.observations == 40
    assert found.rhat_max < 1.05
    assert found.ess_min > 100
    assert found.refused == ""
    assert set(found.scales) == {kernel.name for kernel in KERNELS} | {"noise"}


def test_it_is_the_exact_gaussian_process_where_the_features_are_exact() -> None:
    networks = draw(12, seed=5)
    found = fit(_features(networks[:8]), measure(networks[:8], seed=5), seed=1, config=SHORT)
    coordinates = found.space.transform(_features(networks))
    warped = found.warp.apply(measure(networks[:8], seed=5))
    means, sds = [], []
    for scales, noise in zip(found.weights.scales, found.weights.noise, strict=True):
        cov = 1.0 + sum(s**2 * k(coordinates, coordinates, 1.0) for s, k in zip(scales, KERNELS, strict=True))
        gain = np.linalg.solve(cov[:8, :8] + noise**2 * np.eye(8), cov[:8, 8:]).T
        means.append(gain @ warped)
        sds.append(np.sqrt(np.diag(cov[8:, 8:] - gain @ cov[:8, 8:])))
    pool = found.pool(_features(networks[8:]))
    assert pool.means == pytest.approx(np.array(means), abs=1e-6)
    assert np.sqrt(pool.variances) == pytest.approx(np.array(sds), abs=1e-6)
    best = 0.3
    u = (np.array(means) - best) / np.array(sds)
    below, density = np.vectorize(NORMAL.cdf)(u), np.vectorize(NORMAL.pdf)(u)
    improvement = (np.array(sds) * (u * below + density)).mean(axis=0)
    assert found.expected_improvement(_features(networks[8:]), best) == pytest.approx(improvement, abs=1e-6)


def test_the_compiled_density_is_that_of_the_exact_gaussian_process() -> None:
    networks = draw(10, seed=3)
    coordinates = FeatureSpace.fit(_features(networks)).transform(_features(networks))
    y = np.linspace(-1.5, 1.5, 10)
    phi = design([LowRank.fit(kernel, coordinates, 1.0) for kernel in KERNELS], coordinates)
    with model._quiet_numba():
        import pymc as pm

        built = model._model()
        with built:
            pm.set_data({"gram": phi.T @ phi, "projected": phi.T @ y, "power": y @ y, "count": 10.0})
        logp = built.compile_logp(vars=built.potentials)
    for log_scales, log_noise in ([-1.0, 0.2, -0.5, 0.1, 0.4], -1.2), ([0.0, -2.0, 0.3, -1.0, -0.3], 0.1):
        scales = np.exp(np.array([0.0, *np.array(log_scales)[OWNER]]))
        cov = (phi * scales**2) @ phi.T + math.exp(2 * log_noise) * np.eye(10)
        exact = -0.5 * (y @ np.linalg.solve(cov, y) + np.linalg.slogdet(cov)[1])
        assert logp({"log_scales": np.array(log_scales), "log_noise": log_noise}) == pytest.approx(exact)


def test_same_seed_same_posterior_bit_for_bit() -> None:
    networks = draw(20, seed=2)
    data, accuracies = _features(networks[:15]), measure(networks[:15], seed=2)
    first, second, other = (fit(data, accuracies, seed=seed, config=SHORT) for seed in (7, 7, 8))
    for a, b in zip(first.predict(_features(networks)), second.predict(_features(networks)), strict=True):
        assert a.tobytes() == b.tobytes()
    assert first.weights.scales.tobytes() == second.weights.scales.tobytes()
    assert first.weights.scales.tobytes() != other.weights.scales.tobytes()


@pytest.mark.filterwarnings("ignore::llmastool.planner.model.PlannerWarning")
@pytest.mark.parametrize(
    "accuracies",
    [[50.0, 60.0], [50.0] * 5, [70.0, 71.0, 72.0, 73.0, 0.0], [50.0, 50.1, 50.2, 50.1, 100.0]],
    ids=["two", "equal", "absurdly low", "absurdly high"],
)
def test_odd_observations_give_finite_predictions(accuracies: list[float]) -> None:
    networks = draw(30, seed=4)
    found = fit(_features(networks[: len(accuracies)]), accuracies, seed=0, config=SHORT)
    mean, sd = found.accuracy(_features(networks))
    assert np.all((mean >= 0) & (mean <= 100))
    assert np.all(np.isfinite(sd))
    assert np.all(found.expected_improvement(_features(networks)) >= 0)


@pytest.mark.filterwarnings("ignore::llmastool.planner.model.PlannerWarning")
def test_one_failure_to_learn_does_not_bend_the_ranking() -> None:
    networks = draw(100, seed=6)
    accuracies = measure(networks, seed=6)
    found = fit(_features(networks[:25]), [1.0, *accuracies[1:25]], seed=0, config=SHORT)
    assert rank_correlation(found.accuracy(_features(networks[25:]))[0], accuracies[25:]) > 0.7


@pytest.mark.filterwarnings("ignore::llmastool.planner.model.PlannerWarning")
def test_what_is_no_accuracy_is_refused_on_record() -> None:
    networks = draw(8, seed=4)
    found = fit(_features(networks), [60, math.nan, 62, 1e9, 64, -3, 66, math.inf], seed=0, config=SHORT)
    assert found.diagnostics.observations == 4
    assert found.diagnostics.refused == "4 of 8 accuracies, not from 0 to 100: nan, 1e+09, -3, inf"
    with pytest.raises(LLMasToolError, match=r"expected 2 or more networks .* got 1 of 2; evaluate more"):
        fit(_features(networks[:2]), [60, math.nan], seed=0)


def test_it_is_less_sure_of_what_it_has_never_seen(posterior: Posterior) -> None:
    usual = draw(240, seed=1)[45]
    strange = features(Network(usual.families, usual.widths).profile())
    strange = {**strange, "motif": {f"new{i}>new": 1.0 for i in range(20)}, "family": {"new": 2.0}}
    spread = posterior.predict([features(usual.profile()), strange])[1]
    assert spread[1] > 1.2 * spread[0]
    assert posterior.best == pytest.approx(float(posterior.pool(posterior.seen).mean.max()))


def test_a_belief_takes_the_appeal_of_copies_and_leaves_the_rest(posterior: Posterior) -> None:
    networks = draw(240, seed=1)[40:60]
    pool = posterior.pool(_features([networks[0], *networks]))
    pool.believe(0)
    left = pool.share_left
    assert left[1] == pytest.approx(left[0])
    assert left[0] < 0.5
    assert np.median(left[2:]) > 0.75
    before = posterior.pool(_features([networks[0], *networks])).expected_improvement(0.0)
    assert np.all(pool.expected_improvement(0.0)[:2] < before[:2])


def test_a_fit_that_did_not_converge_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "MAX_RHAT", 1.0)
    networks = draw(10, seed=4)
    with pytest.warns(PlannerWarning, match=r"10 observations has R-hat 1\.\d+ \(expected 1\.0 or less\)"):
        fit(
            _features(networks), measure(networks, seed=4), seed=0, config=PosteriorConfig(draws=50, tune=50, thinned=9)
        )


@pytest.mark.filterwarnings("ignore::llmastool.planner.model.PlannerWarning")
def test_without_nutpie_pymc_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = draw(60, seed=2)
    data, accuracies = _features(networks), measure(networks, seed=2)
    with_nutpie = fit(data[:15], accuracies[:15], seed=7, config=SHORT)
    monkeypatch.setitem(sys.modules, "nutpie", None)
    monkeypatch.setattr(model, "_compiled", model._compiled.__wrapped__)
    found = fit(data[:15], accuracies[:15], seed=7, config=SHORT)
    assert found.diagnostics.method == "pymc"
    assert np.corrcoef(found.predict(data)[0], with_nutpie.predict(data)[0])[0, 1] > 0.98


def test_importing_pymc_for_the_first_time_of_a_day_warns_of_nothing(tmp_path: Path) -> None:
    code = "from llmastool.planner import model\nwith model._quiet_numba(): import nutpie, arviz"
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "arviz" / "daily_warning").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"chains": 1}, "params.chains: expected 2 or more, got 1"),
        ({"thinned": 601}, "params.thinned: expected 1 to draws"),
        ({"length": 0.0}, "params.length: expected more than 0"),
        ({"drawss": 1}, "did you mean 'draws'"),
    ],
)
def test_configuration_is_checked(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(PosteriorConfig, values)
