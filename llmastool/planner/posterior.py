"""What the search believes of networks, given those that were trained: means, spreads and expected improvements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from llmastool.errors import LLMasToolError
from llmastool.planner.features import Features
from llmastool.planner.kernels import KERNELS, LowRank, design, spread_scales
from llmastool.planner.model import Diagnostics, Draws, PosteriorConfig, sample
from llmastool.planner.pool import Pool, Weights
from llmastool.planner.space import FeatureSpace, Floats
from llmastool.planner.warp import Warp


@dataclass(frozen=True)
class Posterior:
    """A mixture of Gaussians over the warped accuracy of any network, one component for every kept draw."""

    space: FeatureSpace
    warp: Warp
    blocks: tuple[LowRank, ...]
    weights: Weights
    seen: tuple[Features, ...]
    """The networks that were fitted."""
    diagnostics: Diagnostics

    @cached_property
    def best(self) -> float:
        """Largest posterior mean among the networks seen, in warped units: the incumbent, its luck taken out."""
        return float(self.pool(self.seen).mean.max())

    def pool(self, networks: Sequence[Features]) -> Pool:
        """Predict some networks jointly."""
        return Pool.of(self.blocks, self.weights, self.space.transform(networks))

    def predict(self, networks: Sequence[Features]) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of the accuracies that would be observed, in warped units.

        Noise is included. Both have shape `(networks,)`, and are averaged over the kept draws.
        """
        pool = self.pool(networks)
        return pool.mean, pool.spread

    def accuracy(self, networks: Sequence[Features]) -> tuple[Floats, Floats]:
        """Return `predict` in percent: mean and standard deviation, by `Warp.points`."""
        return self.warp.points(*self.predict(networks))

    def gain(self, networks: Sequence[Features], accuracies: Floats | Sequence[float]) -> Floats:
        """Return the expected accuracies minus `accuracies` (of the parents, in percent), in percentage points."""
        return self.accuracy(networks)[0] - np.asarray(accuracies, dtype=np.float64)

    def expected_improvement(self, networks: Sequence[Features], best: float | None = None) -> Floats:
        """Return how far each network is expected to exceed `best`, in warped units, 0 or more.

        Args:
            networks: the networks to judge.
            best: what to exceed, in warped units; None means `self.best`.
        """
        return self.pool(networks).expected_improvement(self.best if best is None else best)


def fit(
    networks: Sequence[Features], accuracies: Sequence[float], *, seed: int, config: PosteriorConfig | None = None
) -> Posterior:
    """Fit the posterior to networks and their validation accuracies.

    An accuracy that is not a number from 0 to 100 is left out; `Diagnostics.refused` says so.

    Args:
        networks: the features of the networks, 2 usable ones or more.
        accuracies: their validation accuracies in percent.
        seed: the same seed gives the same posterior, bit for bit.
        config: how it is computed; None takes the defaults.

    Raises:
        LLMasToolError: fewer than 2 networks have a usable accuracy.
    """
    config = config or PosteriorConfig()
    values = np.asarray(accuracies, dtype=np.float64)
    usable = [i for i, value in enumerate(values.tolist()) if 0 <= value <= 100]
    if len(usable) < 2:
        raise LLMasToolError(
            f"posterior: expected 2 or more networks with an accuracy from 0 to 100, got {len(usable)} "
            f"of {len(values)}; evaluate more candidates first"
        )
    seen = tuple(networks[i] for i in usable)
    space = FeatureSpace.fit(seen)
    coordinates = space.transform(seen)
    warp = Warp.fit(values[usable])
    y = warp.apply(values[usable])
    blocks = tuple(LowRank.fit(kernel, coordinates, config.length) for kernel in KERNELS)
    phi = design(blocks, coordinates)
    draws, diagnostics = sample(phi, y, seed=seed, config=config)
    refused = [f"{value:g}" for i, value in enumerate(values) if i not in usable]
    if refused:
        text = f"{len(refused)} of {len(values)} accuracies, not from 0 to 100: {', '.join(refused[:5])}"
        diagnostics = replace(diagnostics, refused=text)
    return Posterior(space, warp, blocks, _weights(phi, y, draws, config.thinned), seen, diagnostics)


def _weights(phi: Floats, y: Floats, draws: Draws, kept: int) -> Weights:
    """Return the Gaussian posterior of the features' weights under every kept draw."""
    chosen = np.linspace(0, len(draws.noise) - 1, kept).round().astype(int)
    scales, noise = draws.scales[chosen], draws.noise[chosen]
    ratio = spread_scales(scales) / noise[:, None]
    inner = np.eye(phi.shape[1]) + ratio[:, :, None] * (phi.T @ phi) * ratio[:, None, :]
    # With inner = R R', the weights have covariance F' F for F = R^-1 diag(scales).
    factors = np.linalg.solve(np.linalg.cholesky(inner), (ratio * noise[:, None])[:, :, None] * np.eye(phi.shape[1]))
    means = np.einsum("dki,dkj,j->di", factors, factors, phi.T @ y, optimize=True) / noise[:, None] ** 2
    return Weights(means, factors, scales, noise)
