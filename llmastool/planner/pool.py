"""Predictions for many networks at once, and what one more observation would change of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.special import ndtr

from llmastool.planner.hyper import JITTER
from llmastool.planner.kernels import Kernel, covariances
from llmastool.planner.model import Draws
from llmastool.planner.space import Coordinates
from llmastool.planner.table import Floats


@dataclass(frozen=True)
class Trained:
    """The Gaussian process given what was observed, once for every kept draw of its scales."""

    kernels: Sequence[Kernel]
    length: float
    coordinates: Coordinates
    """Of the networks that were observed."""
    draws: Draws
    roots: tuple[Floats, ...]
    """Cholesky factor of the observations' covariance by draw, shape `(observations, observations)`, lower."""
    solved: Floats
    """Covariance's inverse times the observations, shape `(draws, observations)`."""

    @staticmethod
    def fit(
        kernels: Sequence[Kernel], length: float, coordinates: Coordinates, among: Floats, y: Floats, draws: Draws
    ) -> Trained:
        """Condition on observations; `among` is what `covariances` gives for them."""
        roots, solved = [], []
        for scales, noise in zip(draws.scales, draws.noise, strict=True):
            covariance = 1.0 + np.tensordot(scales**2, among, axes=1)
            covariance[np.diag_indices_from(covariance)] += noise**2 + JITTER
            roots.append(cholesky(covariance, lower=True))
            solved.append(cho_solve((roots[-1], True), y))
        return Trained(kernels, length, coordinates, draws, tuple(roots), np.array(solved))


@dataclass
class Pool:
    """Some networks under a posterior; `believe` conditions it, so that near-copies of a pick lose their appeal.

    The batch rule is the kriging believer of Ginsbourger et al. 2010: a pick is taken to come out at its mean, which
    leaves all means as they are and takes variance from what is correlated with it. The covariance is averaged over
    the draws; its share that is left scales the spread of every draw alike.
    """

    trained: Trained
    coordinates: Coordinates
    means: Floats
    """Mean of the noise-free warped accuracy, shape `(draws, networks)`."""
    variances: Floats
    """Its variance before any belief, shape `(draws, networks)`."""
    _across: Floats
    """Covariance of every kernel at scale 1 with what was observed, shape `(kernels, networks, observations)`."""
    _columns: list[Floats] = field(default_factory=list)

    @staticmethod
    def of(trained: Trained, coordinates: Coordinates) -> Pool:
        """Predict the networks at some coordinates."""
        across = covariances(trained.kernels, coordinates, trained.coordinates, trained.length)
        own = np.stack([kernel.diagonal(coordinates) for kernel in trained.kernels])
        means, variances = [], []
        for scales, root, solved in zip(trained.draws.scales, trained.roots, trained.solved, strict=True):
            covariance = 1.0 + np.tensordot(scales**2, across, axes=1)
            means.append(covariance @ solved)
            known = solve_triangular(root, covariance.T, lower=True)
            variances.append(np.maximum(1.0 + scales**2 @ own - np.sum(known**2, axis=0), 0.0))
        return Pool(trained, coordinates, np.array(means), np.array(variances), across)

    @property
    def mean(self) -> Floats:
        """Mean over the draws, shape `(networks,)`, in warped units."""
        return np.asarray(self.means.mean(axis=0))

    @property
    def spread(self) -> Floats:
        """Standard deviation of an observation, noise included, shape `(networks,)`, in warped units."""
        within = self.variances + self.trained.draws.noise[:, None] ** 2
        return np.sqrt(within.mean(axis=0) + self.means.var(axis=0))

    @property
    def share_left(self) -> Floats:
        """Share of every network's variance that the beliefs leave, 0 to 1, shape `(networks,)`."""
        taken = np.sum([column**2 for column in self._columns], axis=0) if self._columns else np.zeros(len(self._total))
        return np.clip(1 - taken / np.maximum(self._total, 1e-12), 0.0, 1.0)

    @cached_property
    def _total(self) -> Floats:
        return np.asarray(self.variances.mean(axis=0))

    @property
    def deviations(self) -> Floats:
        """Standard deviation of the noise-free value after all beliefs, shape `(draws, networks)`."""
        return np.sqrt(self.variances * self.share_left) + 1e-9

    def expected_improvement(self, best: float | Floats) -> Floats:
        """Return the expected excess over `best` of the noise-free value, shape `(networks,)`, in warped units."""
        sd = self.deviations
        u = (self.means - best) / sd
        density = np.exp(-0.5 * u**2) / math.sqrt(2 * math.pi)
        return np.asarray(np.maximum(sd * (u * ndtr(u) + density), 0.0).mean(axis=0))

    def drawn(self, rng: np.random.Generator) -> Floats:
        """Draw one function from the posterior and return its values, shape `(networks,)`, in warped units."""
        number = int(rng.integers(len(self.means)))
        scales, root = self.trained.draws.scales[number], self.trained.roots[number]
        among = covariances(self.trained.kernels, self.coordinates, self.coordinates, self.trained.length)
        known = solve_triangular(root, 1.0 + np.tensordot(scales**2, self._across, axes=1).T, lower=True)
        covariance = 1.0 + np.tensordot(scales**2, among, axes=1) - known.T @ known
        values, axes = np.linalg.eigh(covariance)
        steps = np.sqrt(np.maximum(values, 0.0)) * rng.standard_normal(len(values))
        return np.asarray(self.means[number] + axes @ steps)

    def believe(self, index: int) -> None:
        """Take the network at `index` as observed, at its mean."""
        column = self._covariance_with(index)
        for earlier in self._columns:
            column = column - earlier * earlier[index]
        noise = float(np.mean(self.trained.draws.noise**2))
        self._columns.append(column / math.sqrt(max(float(column[index]), 0.0) + noise))

    def _covariance_with(self, index: int) -> Floats:
        """Return the covariance of all networks with one, averaged over the draws, before any belief."""
        one = {group: values[index : index + 1] for group, values in self.coordinates.items()}
        beside = covariances(self.trained.kernels, self.coordinates, one, self.trained.length)[:, :, 0]
        total = np.zeros(beside.shape[1])
        for scales, root in zip(self.trained.draws.scales, self.trained.roots, strict=True):
            pushed = cho_solve((root, True), 1.0 + scales**2 @ self._across[:, index])
            known = pushed.sum() + scales**2 @ (self._across @ pushed)
            total += 1.0 + scales**2 @ beside - known
        return total / len(self.trained.roots)
