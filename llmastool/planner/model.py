"""The PyMC model of accuracies, and the draws of its few unknowns.

NUTS works on the unknowns of `llmastool.planner.hyper`, seen from their mode and in units of their spread there, and so
needs few steps and little tuning. What one kernel explains, another or the noise may explain as well, so that any scale
may be 0: in logarithms that is a tail without an end, and in scales a wall. NUTS moves along what `_bent` makes of
them. The shapes that it works on are bounded: an update costs about the same at 100 observations as at 1,000. The model
is compiled once per process.
"""

from __future__ import annotations

import functools
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit

from llmastool.canonical import Json
from llmastool.planner.config import PosteriorConfig
from llmastool.planner.hyper import Evidence, Mode
from llmastool.planner.table import Floats
from llmastool.planner.threads import one_thread

MAX_RHAT = 1.01
"""R-hat above which a fit has not converged (Vehtari et al. 2021)."""

MAX_DIVERGENT = 0.01
"""Share of divergent draws above which a fit is not used."""

SOFT = 0.1
"""Scale above which NUTS moves along scales, and below which along their logarithms, in warped units."""

ACCEPT = 0.95
"""Mean acceptance that the sampler's step is tuned to: where scales grow, the density falls steeply."""


class PlannerWarning(UserWarning):
    """The planner goes on, but what it goes on is weaker than it should be."""


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """How a fit went."""

    method: str
    """`nutpie`, or `pymc` where nutpie cannot be imported; `fit`, which is no sampler, where it was asked for or where
    the sampler had not converged."""
    rhat_max: float | None = None
    """Largest split R-hat over the unknowns; 1 is converged. None for `fit`."""
    ess_min: float
    """Smallest effective number of draws over the unknowns (bulk); for `fit`, that of the importance weights."""
    divergences: int | None = None
    """Divergent draws after tuning. None for `fit`."""
    seconds: float = 0.0
    """Wall time, compilation left out; never used in a decision."""
    observations: int = 0
    """Networks that were fitted."""
    scales: Mapping[str, float] = ()  # type: ignore[assignment]
    """Posterior median of every kernel's scale and of the noise, in warped units."""
    refused: str = ""
    """Which observations were left out, and why; empty when none was."""
    fallback: str = ""
    """Why `fit` took the sampler's place; empty when it did not."""

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

    @staticmethod
    def of(unknowns: Floats) -> Draws:
        """Take what is drawn as logarithms, shape `(draws, kernels + 1)`."""
        values = np.exp(unknowns)
        return Draws(values[:, :-1], values[:, -1])


def prepare(unknowns: int, config: PosteriorConfig) -> None:
    """Begin to compile the model for so many unknowns, where it is going to be sampled; sampling waits for the rest.

    PyMC is imported before that: threads that import at the same time can see each other's modules half-made.
    """
    if config.method == "nuts":
        _import_quietly()
        threading.Thread(target=_compiled, args=(unknowns,), name="compile-posterior", daemon=True).start()


def sample(evidence: Evidence, *, seed: int, config: PosteriorConfig) -> tuple[Draws, Diagnostics]:
    """Draw the scales and the noise given observations.

    Args:
        evidence: what was observed.
        seed: the same seed gives the same draws, bit for bit.
        config: how.

    Warns:
        PlannerWarning: the sampler did not converge (R-hat above `MAX_RHAT`, or more than `MAX_DIVERGENT` of the draws
            diverged), with twice the draws neither; the draws are those of `fit`.
    """
    started = time.perf_counter()
    mode = Mode.find(evidence)
    if config.method == "fit":
        return _fitted(evidence, mode, seed, config, time.perf_counter() - started)
    faults = []
    for number in (1, 2):
        longer = replace(config, draws=number * config.draws, tune=number * config.tune)
        draws, diagnostics = _sampled(evidence, mode, seed, longer)
        fault = _fault(diagnostics, len(draws.noise))
        if not fault:
            return draws, diagnostics
        faults.append(fault)
    why = f"the posterior of {evidence.observations} observations has {faults[-1]}; it is fitted around its mode"
    warnings.warn(f"{why}. Raise the posterior's tune and draws to sample it", PlannerWarning, stacklevel=2)
    draws, diagnostics = _fitted(evidence, mode, seed, config, time.perf_counter() - started)
    return draws, replace(diagnostics, fallback=faults[-1])


def _fault(diagnostics: Diagnostics, draws: int) -> str:
    """Say what is wrong with a sampler's draws; nothing where they have converged."""
    assert diagnostics.rhat_max is not None and diagnostics.divergences is not None
    if diagnostics.rhat_max <= MAX_RHAT and diagnostics.divergences <= MAX_DIVERGENT * draws:
        return ""
    return (
        f"R-hat {diagnostics.rhat_max:.3f} (expected {MAX_RHAT} or less) and {diagnostics.divergences} divergences "
        f"in {draws} draws"
    )


def _fitted(
    evidence: Evidence, mode: Mode, seed: int, config: PosteriorConfig, seconds: float
) -> tuple[Draws, Diagnostics]:
    started = time.perf_counter()
    found = mode.spread(config.thinned, seed)
    away = np.linalg.solve(mode.factor, (found - mode.at).T)
    ratio = np.array([0.5 * z @ z - evidence.energy(u)[0] for z, u in zip(away.T, found, strict=True)])
    weights = np.exp(ratio - ratio.max())
    ess = float(weights.sum() ** 2 / np.sum(weights**2))
    return Draws.of(found), Diagnostics(method="fit", ess_min=ess, seconds=seconds + time.perf_counter() - started)


def _sampled(evidence: Evidence, mode: Mode, seed: int, config: PosteriorConfig) -> tuple[Draws, Diagnostics]:
    data = _data(evidence, mode)
    compiled, method = _compiled(len(mode.at))
    started = time.perf_counter()
    # Matrices as small as these are not worth several threads, which would wait for each other.
    with _quiet_numba(), one_thread():
        run = _nutpie if method == "nutpie" else _pymc
        trace = run(compiled, data, seed % 2**31, config)
    return _summarise(trace, mode, method, time.perf_counter() - started)


def _data(evidence: Evidence, mode: Mode) -> dict[str, Floats]:
    """Return what the model is given."""
    center, factor = _bent(mode)
    data = {**vars(evidence), "center": center, "factor": factor}
    data["rest"] = [data.pop("rest_power"), data.pop("rest_count")]
    return {name: np.asarray(value, dtype=np.float64) for name, value in data.items()}


def _bent(mode: Mode) -> tuple[Floats, Floats]:
    """Return where NUTS starts and the square root of the covariance there, along what `_logs` makes logarithms of."""
    scales = np.exp(mode.at)
    center = SOFT * np.log(np.expm1(scales / SOFT))
    return center, mode.factor * (scales / expit(center / SOFT))[:, None]


def _logs(bent: Floats) -> Floats:
    """Return the logarithms of `SOFT * log(1 + exp(bent / SOFT))`."""
    return np.log(SOFT * np.logaddexp(0.0, bent / SOFT))


def _import_quietly() -> None:
    """Import PyMC without ArviZ's notice of the day."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\s*ArviZ is undergoing", category=FutureWarning)
        import pymc  # noqa: F401 - imported here for the first time, under the filter


@contextmanager
def _quiet_numba() -> Iterator[None]:
    """Compile with Numba: from pip, PyTensor finds no BLAS."""
    _import_quietly()
    import pytensor

    with pytensor.config.change_flags(mode="NUMBA"), warnings.catch_warnings():
        # How arrays lie in memory is PyTensor's choice, which differs from process to process.
        warnings.filterwarnings("ignore", message=r".*is faster on contiguous arrays")
        yield


_COMPILING = threading.Lock()


def _compiled(unknowns: int) -> tuple[Any, str]:
    """Return the model, compiled where nutpie can be had, and the name of the sampler. It is compiled once."""
    with _COMPILING:
        return _compile(unknowns)


@functools.cache
def _compile(unknowns: int) -> tuple[Any, str]:
    """Compile the model. nutpie fixes the number of unknowns when it does, so that each number has its own."""
    with _quiet_numba():
        model = _model(unknowns)
        try:
            import nutpie
        except ImportError:
            return model, "pymc"
        return nutpie.compile_pymc_model(model), "nutpie"


def _model(unknowns: int) -> Any:
    import pymc as pm
    import pytensor.tensor as pt

    from llmastool.planner.likelihood import Likelihood

    example = Evidence.of(np.stack([np.eye(3)] * (unknowns - 1)), np.zeros(3))
    start = Mode(example.prior()[0], np.eye(unknowns))
    with pm.Model() as model:
        data = {name: pm.Data(name, value) for name, value in _data(example, start).items()}
        away = pm.Flat("away", shape=unknowns)
        bent = data.pop("center") + data.pop("factor") @ away
        logs = pt.log(SOFT * pt.softplus(bent / SOFT))
        pm.Potential("prior", pm.logp(pm.Normal.dist(*example.prior()), logs).sum())
        # How fast the logarithms move along: a density of the one is that of the other times so much.
        pm.Potential("pace", -(pt.softplus(-bent / SOFT) + logs).sum())
        observed = [data[name] for name in ("base", "kernels", "y", "rest_variances", "rest")]
        pm.Potential("marginal_likelihood", Likelihood()(logs, *observed)[0])
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
        target_accept=ACCEPT,
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
            target_accept=ACCEPT,
            progressbar=False,
            compute_convergence_checks=False,
        )


def _summarise(trace: Any, mode: Mode, method: str, seconds: float) -> tuple[Draws, Diagnostics]:
    import arviz

    center, factor = _bent(mode)
    found = _logs(center + trace.posterior["away"].to_numpy() @ factor.T)
    unknowns = arviz.convert_to_dataset({"unknowns": found})
    diagnostics = Diagnostics(
        method=method,
        rhat_max=float(arviz.rhat(unknowns)["unknowns"].max()),
        ess_min=float(arviz.ess(unknowns)["unknowns"].min()),
        divergences=int(trace.sample_stats["diverging"].sum()),
        seconds=seconds,
    )
    return Draws.of(found.reshape(-1, len(mode.at))), diagnostics
