"""The PyMC model of accuracies, and the draws of its few unknowns.

    y = constant + sum over kernels of scale * features @ weights + noise,   all weights standard normal

The weights are integrated out, so that NUTS sees only the logarithms of the scales and of the noise: with them in, they
and their scales make a funnel. What is left of the data is `features.T @ features`, `features.T @ y`, `y @ y` and a
count, whose shapes never change; the model is therefore compiled once per process, and an update costs the same at 10
observations as at 1,000.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from llmastool.canonical import Json
from llmastool.config import require
from llmastool.planner.kernels import KERNELS, OWNER, WIDTH, by_name
from llmastool.planner.space import Floats

MAX_RHAT = 1.05
"""R-hat above which a fit is reported as not converged."""

MAX_DIVERGENT = 0.01
"""Share of divergent draws above which a fit is reported."""


class PlannerWarning(UserWarning):
    """The planner goes on, but what it goes on is weaker than it should be."""


@dataclass(frozen=True, kw_only=True)
class PosteriorConfig:
    """How the posterior is computed."""

    draws: int = 300
    """Draws kept per chain."""
    tune: int = 300
    """Draws per chain that tune the sampler and are thrown away."""
    chains: int = 2
    """Chains; 2 or more, without which convergence cannot be judged."""
    cores: int = 2
    """Chains run at the same time. The result does not depend on it."""
    thinned: int = 64
    """Draws over which predictions are averaged."""
    length: float = 1.0
    """Length scale of the Matern kernels, in units of distance; two networks lie about 1.4 apart."""

    def __post_init__(self) -> None:
        require(self.draws >= 50, "draws", "50 or more", self.draws)
        require(self.tune >= 50, "tune", "50 or more", self.tune)
        require(self.chains >= 2, "chains", "2 or more", self.chains)
        require(self.cores >= 1, "cores", "1 or more", self.cores)
        require(1 <= self.thinned <= self.draws * self.chains, "thinned", "1 to draws * chains", self.thinned)
        require(self.length > 0, "length", "more than 0", self.length)


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """How a fit went."""

    rhat_max: float
    """Largest split R-hat over the unknowns; 1 is converged."""
    ess_min: float
    """Smallest effective number of draws over the unknowns (bulk)."""
    divergences: int
    """Divergent draws after tuning."""
    seconds: float
    """Wall time, compilation left out; never used in a decision."""
    observations: int
    """Networks that were fitted."""
    method: str
    """`nutpie`, or `pymc` where nutpie cannot be imported."""
    scales: Mapping[str, float]
    """Posterior median of every kernel's scale and of the noise, in warped units."""
    refused: str = ""
    """Which observations were left out, and why; empty when none was."""

    def to_json(self) -> Json:
        """Return a JSON value."""
        return {**asdict(self), "scales": dict(self.scales)}


@dataclass(frozen=True)
class Draws:
    """Posterior draws of the unknowns, all chains one after another."""

    scales: Floats
    """Shape `(draws, kernels)`, in warped units."""
    noise: Floats
    """Standard deviation of an observation, shape `(draws,)`, in warped units."""


def sample(features: Floats, y: Floats, *, seed: int, config: PosteriorConfig) -> tuple[Draws, Diagnostics]:
    """Draw the scales and the noise given observations.

    Args:
        features: shape `(observations, WIDTH)`.
        y: warped accuracies, shape `(observations,)`, of mean 0 and standard deviation 1.
        seed: the same seed gives the same draws, bit for bit.
        config: how.

    Warns:
        PlannerWarning: R-hat is above `MAX_RHAT`, or more than `MAX_DIVERGENT` of the draws diverged.
    """
    data = {
        "gram": features.T @ features,
        "projected": features.T @ y,
        "power": np.array(float(y @ y)),
        "count": np.array(float(len(y))),
    }
    compiled, method = _compiled()
    started = time.perf_counter()
    with _quiet_numba():
        run = _nutpie if method == "nutpie" else _pymc
        trace = run(compiled, data, seed % 2**31, config)
    draws, diagnostics = _summarise(trace, len(y), method, time.perf_counter() - started)
    divergent = diagnostics.divergences / len(draws.noise)
    if diagnostics.rhat_max > MAX_RHAT or divergent > MAX_DIVERGENT:
        warnings.warn(
            f"the posterior of {len(y)} observations has R-hat {diagnostics.rhat_max:.3f} (expected {MAX_RHAT} or "
            f"less) and {diagnostics.divergences} divergences in {len(draws.noise)} draws; raise the posterior's tune "
            "and draws",
            PlannerWarning,
            stacklevel=2,
        )
    return draws, diagnostics


@contextmanager
def _quiet_numba() -> Iterator[None]:
    """Import PyMC without ArviZ's notice of the day, and compile with Numba: from pip, PyTensor finds no BLAS."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\s*ArviZ is undergoing", category=FutureWarning)
        import pymc  # noqa: F401 - imported here for the first time, under the filter
        import pytensor
    with pytensor.config.change_flags(mode="NUMBA"):
        yield


@functools.cache
def _compiled() -> tuple[Any, str]:
    """Return the model, compiled where nutpie can be had, and the name of the sampler."""
    with _quiet_numba():
        model = _model()
        try:
            import nutpie
        except ImportError:
            return model, "pymc"
        return nutpie.compile_pymc_model(model), "nutpie"


def _model() -> Any:
    import pymc as pm
    import pytensor.tensor as pt

    with pm.Model() as model:
        gram = pm.Data("gram", np.eye(WIDTH))
        projected = pm.Data("projected", np.zeros(WIDTH))
        power = pm.Data("power", np.array(1.0))
        count = pm.Data("count", np.array(1.0))
        log_scales = pm.Normal("log_scales", np.log(0.4), 0.8, shape=len(KERNELS))
        log_noise = pm.Normal("log_noise", np.log(0.3), 0.7)
        ratio = pt.concatenate([[1.0], pt.exp(log_scales)[OWNER]]) * pt.exp(-log_noise)
        # Woodbury: the covariance of all observations is never formed, only this matrix of the features' width.
        inner = pt.eye(WIDTH) + ratio[:, None] * gram * ratio[None, :]
        root = pt.linalg.cholesky(inner)
        explained = pt.linalg.solve_triangular(root, ratio * projected, lower=True)
        misfit = (power - pt.sum(explained**2)) * pt.exp(-2 * log_noise)
        log_det = 2 * pt.sum(pt.log(pt.diag(root))) + 2 * count * log_noise
        pm.Potential("marginal_likelihood", -0.5 * (misfit + log_det))
    return model


def _nutpie(compiled: Any, data: Mapping[str, Floats], seed: int, config: PosteriorConfig) -> Any:
    import nutpie

    return nutpie.sample(
        compiled.with_data(**data),
        draws=config.draws,
        tune=config.tune,
        chains=config.chains,
        cores=config.cores,
        seed=seed,
        target_accept=0.9,
        save_warmup=False,
        progress_bar=False,
    )


def _pymc(model: Any, data: Mapping[str, Floats], seed: int, config: PosteriorConfig) -> Any:
    import pymc as pm

    with model:
        pm.set_data(dict(data))
        # One core: forked workers would each compile the model again.
        return pm.sample(
            config.draws,
            tune=config.tune,
            chains=config.chains,
            cores=1,
            random_seed=seed,
            target_accept=0.9,
            progressbar=False,
            compute_convergence_checks=False,
        )


def _summarise(trace: Any, observations: int, method: str, seconds: float) -> tuple[Draws, Diagnostics]:
    import arviz

    unknowns = trace.posterior[["log_scales", "log_noise"]]
    rhat, ess = arviz.rhat(unknowns), arviz.ess(unknowns)
    draws = Draws(
        np.exp(unknowns["log_scales"].to_numpy().reshape(-1, len(KERNELS))),
        np.exp(unknowns["log_noise"].to_numpy().reshape(-1)),
    )
    diagnostics = Diagnostics(
        rhat_max=float(max(rhat[name].max() for name in unknowns)),
        ess_min=float(min(ess[name].min() for name in unknowns)),
        divergences=int(trace.sample_stats["diverging"].sum()),
        seconds=seconds,
        observations=observations,
        method=method,
        scales={**by_name(np.median(draws.scales, axis=0).tolist()), "noise": float(np.median(draws.noise))},
    )
    return draws, diagnostics
