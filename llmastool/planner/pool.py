"""Predictions for many networks at once, and what one more observation would change of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from llmastool.planner.kernels import LowRank, design, parts
from llmastool.planner.space import Coordinates, Floats

_ERF = np.frompyfunc(math.erf, 1, 1)


@dataclass(frozen=True)
class Weights:
    """The posterior of the features' weights, one Gaussian for every draw, in warped units."""

    means: Floats
    """Shape `(draws, width)`."""
    factors: Floats
    """Shape `(draws, width, width)`; the covariance of a draw's weights is `factor.T @ factor`."""
    scales: Floats
    """Scale of every kernel, shape `(draws, kernels)`."""
    noise: Floats
    """Shape `(draws,)`."""


@dataclass
class Pool:
    """Some networks under a posterior; `believe` conditions it, so that near-copies of a pick lose their appeal.

    The batch rule is the kriging believer of Ginsbourger et al. 2010: a pick is taken to come out at its mean, which
    leaves all means as they are and takes variance from what is correlated with it. The covariance is averaged over
    the draws; its share that is left scales the spread of every draw alike.
    """

    blocks: Sequence[LowRank]
    weights: Weights
    coordinates: Coordinates
    phi: Floats
    """Features, shape `(networks, width)`."""
    means: Floats
    """Mean of the noise-free warped accuracy, shape `(draws, networks)`."""
    variances: Floats
    """Its variance before any belief, shape `(draws, networks)`."""
    _columns: list[Floats] = field(default_factory=list)

    @staticmethod
    def of(blocks: Sequence[LowRank], weights: Weights, coordinates: Coordinates) -> Pool:
        """Predict the networks at some coordinates."""
        phi = design(blocks, coordinates)
        means = weights.means @ phi.T
        variances = np.stack([np.sum((factor @ phi.T) ** 2, axis=0) for factor in weights.factors])
        for index, (block, own) in enumerate(zip(blocks, parts(blocks, phi), strict=True)):
            residual = block.residual_variance(coordinates, own)
            variances += weights.scales[:, index, None] ** 2 * residual[None, :]
        return Pool(blocks, weights, coordinates, phi, means, variances)

    @property
    def mean(self) -> Floats:
        """Mean over the draws, shape `(networks,)`, in warped units."""
        return np.asarray(self.means.mean(axis=0))

    @property
    def spread(self) -> Floats:
        """Standard deviation of an observation, noise included, shape `(networks,)`, in warped units."""
        within = self.variances + self.weights.noise[:, None] ** 2
        return np.sqrt(within.mean(axis=0) + self.means.var(axis=0))

    @property
    def share_left(self) -> Floats:
        """Share of every network's variance that the beliefs leave, 0 to 1, shape `(networks,)`."""
        total = self.variances.mean(axis=0)
        taken = np.sum([column**2 for column in self._columns], axis=0) if self._columns else np.zeros(len(total))
        return np.clip(1 - taken / np.maximum(total, 1e-12), 0.0, 1.0)

    def expected_improvement(self, best: float) -> Floats:
        """Return the expected excess over `best` of the noise-free value, shape `(networks,)`, in warped units."""
        sd = np.sqrt(self.variances * self.share_left) + 1e-9
        u = (self.means - best) / sd
        density = np.exp(-0.5 * u**2) / math.sqrt(2 * math.pi)
        below = 0.5 * (1 + np.asarray(_ERF(u / math.sqrt(2)), dtype=np.float64))
        return np.asarray(np.maximum(sd * (u * below + density), 0.0).mean(axis=0))

    def believe(self, index: int) -> None:
        """Take the network at `index` as observed, at its mean."""
        column = self._covariance_with(index)
        for earlier in self._columns:
            column = column - earlier * earlier[index]
        noise = float(np.mean(self.weights.noise**2))
        self._columns.append(column / math.sqrt(max(float(column[index]), 0.0) + noise))

    def _covariance_with(self, index: int) -> Floats:
        """Return the covariance of all networks with one, averaged over the draws, before any belief."""
        pushed = self.weights.factors @ self.phi[index]
        back = np.einsum("dkw,dk->w", self.weights.factors, pushed) / len(pushed)
        covariance = self.phi @ back
        for number, (block, own) in enumerate(zip(self.blocks, parts(self.blocks, self.phi), strict=True)):
            scale = float(np.mean(self.weights.scales[:, number] ** 2))
            covariance = covariance + scale * block.residual_with(self.coordinates, own, index)
        return np.asarray(covariance)
