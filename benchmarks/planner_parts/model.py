"""The posterior by itself: what an update takes, whether it converges, and whether its intervals hold."""

from __future__ import annotations

import statistics
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import chi2, spearmanr

from benchmarks.nb201.runs import Problem
from benchmarks.nb201.sbc import ranks
from benchmarks.nb201.space import Space
from llmastool.canonical import Json
from llmastool.planner.config import PosteriorConfig
from llmastool.planner.posterior import Posterior, fit
from llmastool.planner.space import FeatureSpace

INTERVALS = (0.5, 0.8, 0.9, 0.95)
SIZES = (20, 50, 100, 300, 600, 1000, 2000)


def _fit(problem: Problem, seed: int, count: int, config: PosteriorConfig) -> tuple[Posterior, np.ndarray]:
    """Fit cells drawn at random; return the positions of the others too, in random order."""
    order = np.random.default_rng([seed, 9]).permutation(len(problem.space.cells))
    chosen, others = order[:count], order[count:]
    networks = problem.space.table.values([problem.space.trees[i] for i in chosen])
    return fit(networks, problem.noisy(seed)[chosen], seed=seed, config=config), others


def updates(space: Space, table: Path, seeds: int) -> Json:
    """Seconds, R-hat, effective draws and divergences of updates by NUTS, and seconds by `fit`; default settings."""
    problem = Problem.of(space, table, "cifar100", "open", 0.3)
    _fit(problem, 0, 20, PosteriorConfig())  # the first one of a process compiles
    rows: Json = {}
    for count in SIZES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what did not converge is counted below
            found = [_fit(problem, seed, count, PosteriorConfig())[0].diagnostics for seed in range(seeds)]
        fitted = [_fit(problem, seed, count, PosteriorConfig(method="fit"))[0].diagnostics for seed in range(seeds)]
        sampled = [d for d in found if d.rhat_max is not None and d.divergences is not None]
        rows[str(count)] = {
            "updates": len(found),
            "fell_back": len(found) - len(sampled),
            "seconds_mean": statistics.fmean(d.seconds for d in found),
            "seconds_max": max(d.seconds for d in found),
            "seconds_mean_fit": statistics.fmean(d.seconds for d in fitted),
            "rhat_max": max((d.rhat_max or 0.0 for d in sampled), default=None),
            "ess_min": min((d.ess_min for d in sampled), default=None),
            "divergences": sum(d.divergences or 0 for d in sampled),
            "observations_used": found[0].observations,
        }
    return rows


def coverage(space: Space, table: Path, seeds: int, held_out: int = 1000) -> Json:
    """Share of held-out cells within central predictive intervals, and how they are ranked."""
    rows: Json = {}
    for data in ("cifar10", "cifar100"):
        problem = Problem.of(space, table, data, "open", 0.3)
        for count in (50, 100, 300):
            inside: list[list[float]] = []
            ranked = []
            for seed in range(seeds):
                posterior, others = _fit(problem, seed, count, PosteriorConfig(method="fit"))
                others = others[:held_out]
                mean, sd = posterior.predict(space.table.values([space.trees[i] for i in others]))
                came = problem.noisy(seed)[others]
                below = statistics.NormalDist()
                off = np.abs(posterior.warp.apply(came) - mean) / sd
                inside.append([float(np.mean(off <= below.inv_cdf(0.5 + share / 2))) for share in INTERVALS])
                ranked.append(float(spearmanr(mean, came).statistic))
            shares = np.array(inside)
            rows[f"{data} {count}"] = {
                "seeds": seeds,
                "held_out": held_out,
                **{f"{share:.0%}": float(shares[:, i].mean()) for i, share in enumerate(INTERVALS)},
                "90%_sd": float(shares[:, INTERVALS.index(0.9)].std(ddof=1)),
                "rank_correlation": statistics.fmean(ranked),
            }
    return rows


def calibration(space: Space, replications: int, observations: int = 40, draws: int = 99) -> Json:
    """Simulation-based calibration (Talts et al. 2018) of the PyMC model: ranks of what was planted are uniform."""
    chosen = np.random.default_rng(3).permutation(len(space.cells))[:observations]
    values = space.table.values([space.trees[i] for i in chosen])
    coordinates = FeatureSpace.fit(values).transform(values)
    found = ranks(coordinates, replications, draws, 0, PosteriorConfig())
    bins = 10
    rows = {}
    for number in range(found.shape[1]):
        counts = np.bincount(found[:, number] * bins // (draws + 1), minlength=bins)
        statistic = float(np.sum((counts - replications / bins) ** 2) / (replications / bins))
        rows[str(number)] = {"counts": counts.tolist(), "p": float(chi2.sf(statistic, bins - 1))}
    least = min(row["p"] for row in rows.values())
    return {
        "replications": replications,
        "observations": observations,
        "draws": draws,
        "unknowns": rows,
        "p_min": least,
        # One test for every unknown, at one percent together (Bonferroni).
        "passes": least > 0.01 / len(rows),
    }
