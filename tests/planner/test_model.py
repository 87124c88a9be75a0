from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmastool.config import from_mapping
from llmastool.errors import ConfigError
from llmastool.planner import model
from llmastool.planner.config import PosteriorConfig
from llmastool.planner.hyper import DIRECTIONS, Evidence, Mode
from llmastool.planner.kernels import KERNELS, WITHOUT_COSTS, Kernel
from llmastool.planner.model import PlannerWarning, sample
from llmastool.planner.posterior import fit
from llmastool.planner.table import Floats
from llmastool.planner.threads import one_thread
from tests.planner.synthetic import draw, evidence, measure, values

KEPT = PosteriorConfig().draws * PosteriorConfig().chains

SHORT = PosteriorConfig(draws=100, tune=150, thinned=32)


def _evidence(count: int, kernels: tuple[Kernel, ...] = KERNELS) -> Evidence:
    networks = draw(count, seed=1)
    return evidence(networks, measure(networks, seed=1), kernels)


def _energy(found: Evidence, mode: Mode, away: Floats) -> float:
    """The energy along what NUTS moves along: a density is that of the logarithms times their pace."""
    center, factor = model._bent(mode)
    bent = center + factor @ away
    pace = (model._logs(bent + 1e-6) - model._logs(bent - 1e-6)) / 2e-6
    return found.energy(model._logs(bent))[0] - float(np.log(pace).sum())


@pytest.mark.parametrize("kernels", [KERNELS, WITHOUT_COSTS])
def test_the_compiled_density_is_the_energy(kernels: tuple[Kernel, ...]) -> None:
    number = len(kernels) + 1
    with model._quiet_numba():
        import pymc as pm

        built = model._model(number)
        logp = built.compile_logp(vars=built.potentials)
        slope = built.compile_dlogp()
        for count in (10, DIRECTIONS + 40):
            found = _evidence(count, kernels)
            mode = Mode.find(found)
            with built:
                pm.set_data(model._data(found, mode))
            away = np.random.default_rng(count).normal(0, 2.5, (6, number))
            said = np.array([float(logp({"away": z})) for z in away])
            energies = np.array([_energy(found, mode, z) for z in away])
            steps = 1e-4 * np.eye(number)
            slopes = [[(_energy(found, mode, z - s) - _energy(found, mode, z + s)) / 2e-4 for s in steps] for z in away]
            assert np.array([slope({"away": z}) for z in away]) == pytest.approx(np.array(slopes), rel=1e-4, abs=1e-3)
            assert np.ptp(energies) > 5
            assert said - said[0] == pytest.approx(energies[0] - energies, rel=1e-7, abs=1e-6)


def test_it_converges_on_forty_networks() -> None:
    draws, found = sample(_evidence(40), seed=0, config=PosteriorConfig())
    assert found.method == "nutpie"
    assert found.fallback == ""
    assert found.rhat_max is not None and found.rhat_max <= 1.01
    assert found.divergences == 0
    assert found.ess_min > 400
    assert draws.scales.shape == (KEPT, len(KERNELS))
    assert draws.noise.shape == (KEPT,)


def test_a_fit_and_a_sample_agree() -> None:
    """At few observations, many, and more than are looked at one by one."""
    for count in (12, 40, 200):
        found = _evidence(count)
        exact, _ = sample(found, seed=0, config=PosteriorConfig())
        around, _ = sample(found, seed=0, config=PosteriorConfig(method="fit", thinned=512))
        for a, b in ((exact.scales, around.scales), (exact.noise[:, None], around.noise[:, None])):
            logs = np.log(a)
            off = np.abs(np.median(logs, axis=0) - np.median(np.log(b), axis=0)) / logs.std(axis=0)
            assert off.max() < 0.6
            assert np.log(b).std(axis=0) == pytest.approx(logs.std(axis=0), rel=0.5)


def test_a_fit_and_a_sample_predict_alike() -> None:
    networks = draw(240, seed=1)
    seen, rest = values(networks), values(networks[40:])
    seen = {group: matrix[:40] for group, matrix in seen.items()}
    accuracies = measure(networks[:40], seed=1)
    exact = fit(seen, accuracies, seed=0)
    around = fit(seen, accuracies, seed=0, config=PosteriorConfig(method="fit"))
    (mean, sd), (other_mean, other_sd) = exact.predict(rest), around.predict(rest)
    assert np.corrcoef(mean, other_mean)[0, 1] > 0.98
    assert np.abs(mean - other_mean).max() < 0.5 * sd.min()
    assert other_sd == pytest.approx(sd, rel=0.2)
    assert around.diagnostics.method == "fit"
    assert around.diagnostics.rhat_max is None
    assert 1 < around.diagnostics.ess_min <= 16


def test_a_planner_without_costs_samples_too() -> None:
    """It has one unknown less, and a compiled model of its own."""
    draws, found = sample(_evidence(30, WITHOUT_COSTS), seed=0, config=PosteriorConfig())
    again, _ = sample(_evidence(30), seed=0, config=PosteriorConfig())
    assert found.method == "nutpie" and found.fallback == ""
    assert draws.scales.shape == (KEPT, len(WITHOUT_COSTS))
    assert again.scales.shape == (KEPT, len(KERNELS))
    # nutpie writes past the end of its arrays where the number of unknowns is not the compiled one.
    assert np.isfinite(draws.scales).all() and np.isfinite(again.scales).all()


def test_same_seed_same_draws_bit_for_bit() -> None:
    found = _evidence(15)
    with one_thread(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "MAX_RHAT", 2.0)
        first, second, other = (sample(found, seed=seed, config=SHORT)[0] for seed in (7, 7, 8))
        one_core, _ = sample(found, seed=7, config=replace(SHORT, cores=1))
    for draws in (second, one_core):
        assert first.scales.tobytes() == draws.scales.tobytes()
        assert first.noise.tobytes() == draws.noise.tobytes()
    assert first.scales.tobytes() != other.scales.tobytes()


def test_draws_that_do_not_converge_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    sampled = model._sampled

    def watched(*args: Any) -> Any:
        asked.append((args[-1].draws, args[-1].tune))
        return sampled(*args)

    monkeypatch.setattr(model, "MAX_RHAT", 1.0)
    monkeypatch.setattr(model, "_sampled", watched)
    found = _evidence(10)
    short = PosteriorConfig(draws=50, tune=60, thinned=9)
    with pytest.warns(PlannerWarning, match=r"10 observations has R-hat 1\.\d+ \(expected 1\.0 or less\)"):
        draws, diagnostics = sample(found, seed=5, config=short)
    assert asked == [(50, 60), (100, 120)]
    assert diagnostics.method == "fit"
    assert diagnostics.fallback.startswith("R-hat 1.")
    instead, _ = sample(found, seed=5, config=replace(short, method="fit"))
    assert draws.scales.tobytes() == instead.scales.tobytes()
    assert draws.scales.shape == (9, len(KERNELS))


def test_divergent_draws_are_not_used_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "MAX_DIVERGENT", -1.0)
    with pytest.warns(PlannerWarning, match=r"divergences in 1?[0-9]00 draws; it is fitted around its mode"):
        _, diagnostics = sample(_evidence(10), seed=5, config=SHORT)
    assert diagnostics.method == "fit"


def test_without_nutpie_pymc_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "MAX_RHAT", 1.1)
    found = _evidence(15)
    with_nutpie, _ = sample(found, seed=7, config=SHORT)
    monkeypatch.setitem(sys.modules, "nutpie", None)
    monkeypatch.setattr(model, "_compiled", model._compile.__wrapped__)
    draws, diagnostics = sample(found, seed=7, config=SHORT)
    assert diagnostics.method == "pymc"
    sd = np.log(draws.scales).std(axis=0)
    off = np.median(np.log(draws.scales), axis=0) - np.median(np.log(with_nutpie.scales), axis=0)
    assert np.abs(off / sd).max() < 0.5


def test_importing_pymc_for_the_first_time_of_a_day_warns_of_nothing(tmp_path: Path) -> None:
    code = "from llmastool.planner import model\nwith model._quiet_numba(): import nutpie, arviz"
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "arviz" / "daily_warning").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"method": "advi"}, "params.method: expected one of 'nuts', 'fit', got 'advi'"),
        ({"chains": 1}, "params.chains: expected 2 or more, got 1"),
        ({"thinned": KEPT + 1}, "params.thinned: expected 1 to draws"),
        ({"length": 0.0}, "params.length: expected more than 0"),
        ({"most": 19}, "params.most: expected 20 or more"),
        ({"drawss": 1}, "did you mean 'draws'"),
    ],
)
def test_configuration_is_checked(config: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(PosteriorConfig, config)
