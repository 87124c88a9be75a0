"""Simulation-based calibration of the posterior of the unknowns (Talts et al. 2018).

Unknowns are drawn from the prior and observations from the model with them. If the sampler and the prior that it uses
are right, the rank of every true unknown among its posterior draws is uniform.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmastool import seeds
from llmastool.planner.config import PosteriorConfig
from llmastool.planner.hyper import JITTER, Evidence
from llmastool.planner.kernels import covariances, select
from llmastool.planner.model import sample
from llmastool.planner.space import Coordinates
from llmastool.planner.table import Floats


def ranks(
    coordinates: Coordinates, replications: int, draws: int, seed: int, config: PosteriorConfig
) -> NDArray[np.intp]:
    """Return the ranks of true unknowns among posterior draws, shape `(replications, kernels + 1)`.

    Args:
        coordinates: of the networks that are observed.
        replications: how many times unknowns are drawn.
        draws: posterior draws that a true value is ranked among, far enough apart to be all but independent.
        seed: the same seed gives the same ranks.
        config: how the posterior is sampled.

    Returns:
        How many of the `draws` lie below the true value, 0 to `draws`; the last column is the noise's.
    """
    kernels = select(costs=config.costs, functions=config.functions)
    among = covariances(kernels, coordinates, coordinates, config.length)
    means, sds = Evidence.of(among, np.zeros(among.shape[1])).prior()
    found = []
    for number in range(replications):
        rng = seeds.generator(seed, "sbc", number)
        true = np.exp(rng.normal(means, sds))
        evidence = Evidence.of(among, _observed(among, true, rng))
        drawn, _ = sample(evidence, seed=int(rng.integers(2**31)), config=config)
        kept = np.linspace(0, len(drawn.noise) - 1, draws).round().astype(int)
        unknowns = np.column_stack([drawn.scales, drawn.noise])[kept]
        found.append(np.sum(unknowns < true, axis=0))
    return np.array(found)


def _observed(among: Floats, true: Floats, rng: np.random.Generator) -> Floats:
    """Draw observations in warped units: a constant, a function, and noise."""
    covariance = 1.0 + np.tensordot(true[:-1] ** 2, among, axes=1)
    covariance[np.diag_indices_from(covariance)] += true[-1] ** 2 + JITTER
    return np.asarray(np.linalg.cholesky(covariance) @ rng.standard_normal(len(covariance)))
