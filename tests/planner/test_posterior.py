from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pytest

from llmastool.errors import LLMasToolError
from llmastool.planner import model
from llmastool.planner.config import PosteriorConfig
from llmastool.planner.kernels import KERNELS, WITHOUT_COSTS
from llmastool.planner.posterior import Posterior, fit, prepare
from llmastool.planner.table import Floats
from tests.planner.synthetic import Network, draw, measure, rank_correlation, values

NORMAL = statistics.NormalDist()

FIT = PosteriorConfig(method="fit")


def test_it_ranks_and_covers_networks_that_it_has_not_seen(posterior: Posterior) -> None:
    held_out = draw(240, seed=1)[40:]
    came = np.array(measure(held_out, seed=1))
    mean, sd = posterior.accuracy(values(held_out))
    assert rank_correlation(mean, came) > 0.8
    assert 0.8 <= np.mean(np.abs(came - mean) <= 1.645 * sd) <= 0.995
    assert np.mean(np.abs(came - mean)) < 0.5 * came.std()


def test_it_finds_which_family_and_which_size_matter(posterior: Posterior) -> None:
    families = [Network(("convolution",) * 3 + (f,) * 3, (2,) * 6) for f in ("depthwise", "mixer", "recurrent")]
    worth = posterior.predict(values(families))[0]
    assert worth[0] > worth[1] > worth[2]
    middle, large = (Network(("convolution",) * 6, (width,) * 6) for width in (1, 4))
    gain = posterior.gain(values([middle]), [posterior.accuracy(values([large]))[0][0]])
    assert gain[0] > 0


def test_it_says_how_it_went(posterior: Posterior, fitted: Posterior) -> None:
    for found in (posterior.diagnostics, fitted.diagnostics):
        assert found.observations == 40
        assert found.refused == found.fallback == ""
        assert set(found.scales) == {kernel.name for kernel in KERNELS} | {"noise"}
    assert (posterior.diagnostics.method, fitted.diagnostics.method) == ("nutpie", "fit")


@pytest.mark.parametrize("rungs", [False, True])
def test_what_is_compiled_ahead_is_what_a_fit_needs(rungs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[int] = []
    original = model._compiled

    def noting(unknowns: int) -> tuple[Any, str]:
        compiled.append(unknowns)
        return original(unknowns)

    monkeypatch.setattr(model, "_compiled", noting)
    prepare(FIT, rungs=rungs)
    prepare(PosteriorConfig(), rungs=rungs)
    networks = draw(12, seed=0)
    fit(values(networks), measure(networks, seed=0), seed=0, rungs=[-1.0 if rungs else 0.0] * 6 + [0.0] * 6)
    assert len(compiled) == 2
    assert len(set(compiled)) == 1


@pytest.mark.parametrize("count", [8, 130])
def test_it_is_the_exact_gaussian_process(count: int) -> None:
    """At any number of observations, whatever the unknowns were looked at by."""
    networks = draw(count + 4, seed=5)
    accuracies = measure(networks[:count], seed=5)
    everything = values(networks)
    found = fit({g: v[:count] for g, v in everything.items()}, accuracies, seed=1, config=FIT)
    coordinates = found.space.transform(everything)
    warped = found.warp.apply(accuracies)
    means, sds = [], []
    for scales, noise in zip(found.trained.draws.scales, found.trained.draws.noise, strict=True):
        cov = 1.0 + sum(s**2 * k(coordinates, coordinates, 1.0) for s, k in zip(scales, KERNELS, strict=True))
        gain = np.linalg.solve(cov[:count, :count] + noise**2 * np.eye(count), cov[:count, count:]).T
        means.append(gain @ warped)
        sds.append(np.sqrt(np.diag(cov[count:, count:] - gain @ cov[:count, count:])))
    new = {g: v[count:] for g, v in everything.items()}
    pool = found.pool(new)
    assert pool.means == pytest.approx(np.array(means), abs=1e-4)
    assert np.sqrt(pool.variances) == pytest.approx(np.array(sds), abs=1e-4)
    noise = found.trained.draws.noise[:, None]
    total = np.mean(np.array(sds) ** 2 + noise**2, axis=0) + np.var(means, axis=0)
    assert found.predict(new)[1] == pytest.approx(np.sqrt(total), abs=1e-4)
    best = 0.3
    u = (np.array(means) - best) / np.array(sds)
    below, density = np.vectorize(NORMAL.cdf)(u), np.vectorize(NORMAL.pdf)(u)
    improvement = (np.array(sds) * (u * below + density)).mean(axis=0)
    assert found.expected_improvement(new, best) == pytest.approx(improvement, abs=1e-4)
    assert np.all(found.expected_improvement(new, best + 1) < found.expected_improvement(new, best))


def test_same_seed_same_posterior_bit_for_bit() -> None:
    networks = draw(20, seed=2)
    data, accuracies = values(networks[:15]), measure(networks[:15], seed=2)
    first, second, other = (fit(data, accuracies, seed=seed, config=FIT) for seed in (7, 7, 8))
    for a, b in zip(first.predict(values(networks)), second.predict(values(networks)), strict=True):
        assert a.tobytes() == b.tobytes()
    assert first.trained.draws.scales.tobytes() != other.trained.draws.scales.tobytes()


@pytest.mark.parametrize(
    "accuracies",
    [[55.0] * 6, [55.0, 55.0, 55.0, 55.0, 55.0, 90.0], [0.0, 100.0] * 3, [1e-9, 2e-9, 0, 0, 0, 0], [-100.0] * 5 + [9]],
)
def test_odd_observations_give_finite_numbers(accuracies: list[float]) -> None:
    networks = draw(12, seed=2)
    found = fit(values(networks[:6]), accuracies, seed=0, config=FIT)
    for numbers in (*found.predict(values(networks)), *found.accuracy(values(networks))):
        assert np.isfinite(numbers).all()
    improvement = found.expected_improvement(values(networks))
    assert np.isfinite(improvement).all() and np.all(improvement >= 0)


def test_two_observations_suffice() -> None:
    networks = draw(4, seed=2)
    found = fit(values(networks[:2]), [60.0, 70.0], seed=0, config=FIT)
    mean, sd = found.accuracy(values(networks))
    assert 55 < mean[0] < mean[1] < 75
    assert np.all(sd > 0)


def test_one_failure_to_learn_does_not_bend_the_ranking() -> None:
    networks = draw(100, seed=6)
    accuracies = measure(networks, seed=6)
    found = fit(values(networks[:25]), [1.0, *accuracies[1:25]], seed=0, config=FIT)
    assert rank_correlation(found.accuracy(values(networks[25:]))[0], accuracies[25:]) > 0.7


def test_what_is_no_accuracy_is_refused_on_record() -> None:
    networks = draw(8, seed=4)
    found = fit(values(networks), [60, math.nan, 62, 1e9, 64, -3, 66, math.inf], seed=0, config=FIT)
    assert found.diagnostics.observations == 5
    assert found.diagnostics.refused == "3 of 8 accuracies, not from -100 to 100: nan, 1e+09, inf"
    without = fit(
        {g: v[[0, 2, 4, 5, 6]] for g, v in values(networks).items()}, [60, 62, 64, -3, 66], seed=0, config=FIT
    )
    assert found.predict(values(networks))[0] == pytest.approx(without.predict(values(networks))[0])
    with pytest.raises(LLMasToolError, match=r"with an accuracy from -100 to 100, got 1 of 2; evaluate more"):
        fit(values(networks[:2]), [60, math.nan], seed=0)


def test_most_bounds_what_is_fitted() -> None:
    networks = draw(50, seed=4)
    accuracies = measure(networks, seed=4)
    found = fit(values(networks), accuracies, seed=0, config=PosteriorConfig(method="fit", most=20))
    assert found.diagnostics.observations == len(found.y) == 20
    assert found.diagnostics.refused == "30 of 50, over posterior.most"
    kept = np.sort(found.warp.invert(found.y))[::-1]
    ranked = np.sort(accuracies)[::-1]
    assert kept[:10] == pytest.approx(ranked[:10])
    places = np.array([int(np.argmin(np.abs(ranked - accuracy))) for accuracy in kept[10:]])
    assert (places[0], places[-1]) == (10, 49)
    assert set(np.diff(places)) <= {4, 5}
    both = fit(values(networks), [math.nan, *accuracies[1:]], seed=0, config=PosteriorConfig(method="fit", most=20))
    assert both.diagnostics.refused == ("1 of 50 accuracies, not from -100 to 100: nan; 29 of 49, over posterior.most")


def test_repeated_trainings_tell_the_noise() -> None:
    """In points, as the warp differs from fit to fit."""

    def noise(repeats: int, planted: float) -> tuple[float, float]:
        networks = draw(20, seed=3)
        rng = np.random.default_rng(0)
        told = [(n, n.accuracy() + planted * float(rng.normal())) for n in networks for _ in range(repeats)]
        found = fit(values([n for n, _ in told]), [a for _, a in told], seed=0, config=FIT)
        logs = np.log(found.trained.draws.noise)
        points = float(np.exp(np.median(logs))) * found.warp.sd * found.warp.scale
        return points, float(logs.std())

    assert noise(1, 1.0)[1] > 3 * noise(5, 1.0)[1]
    assert noise(5, 0.3)[0] == pytest.approx(0.3, rel=0.35)
    assert noise(5, 1.0)[0] == pytest.approx(1.0, rel=0.35)


def _with_news(networks: dict[str, Floats], count: int) -> dict[str, Floats]:
    """The same networks, with counts that no table has seen."""
    news = np.full((len(networks["cost"]), count), math.log(2))
    return {g: np.hstack([v, news]) if g in ("motif", "family") else v for g, v in networks.items()}


def test_it_is_less_sure_of_what_it_has_never_seen(posterior: Posterior) -> None:
    usual = values(draw(240, seed=1)[45:46])
    spread = posterior.predict(usual)[1]
    strange = posterior.predict(_with_news(usual, 6))[1]
    assert strange[0] > 1.2 * spread[0]
    assert posterior.best == pytest.approx(float(posterior.seen.mean.max()))


def test_without_costs_they_do_not_count() -> None:
    networks = draw(30, seed=3)
    narrow, wide = (values([Network(networks[0].families, (width,) * 6)]) for width in (1, 4))
    accuracies = measure(networks, seed=3)
    blind = fit(values(networks), accuracies, seed=0, config=PosteriorConfig(method="fit", costs=False))
    told = fit(values(networks), accuracies, seed=0, config=FIT)
    assert set(blind.diagnostics.scales) == {kernel.name for kernel in WITHOUT_COSTS} | {"noise"}
    assert all("cost" not in kernel.groups for kernel in WITHOUT_COSTS)
    assert np.array_equal(blind.predict(narrow), blind.predict(wide))
    assert abs(told.predict(narrow)[0] - told.predict(wide)[0])[0] > 0.1


def test_copies_of_what_was_seen_are_better_known(fitted: Posterior) -> None:
    seen, new = draw(240, seed=1)[:40], draw(240, seed=1)[40:80]
    assert np.median(fitted.pool(values(seen)).deviations) < 0.7 * np.median(fitted.pool(values(new)).deviations)
