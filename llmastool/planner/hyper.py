"""The few unknowns of the model, and how well values of them explain what was observed.

    y = constant + sum over kernels of scale * f_kernel + noise,   every f a Gaussian process of variance about 1

The functions are integrated out, so that only the logarithms of the scales and of the noise are unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import minimize
from scipy.stats import norm, qmc

from llmastool.planner.table import Floats

DIRECTIONS = 64
"""Directions of the observations that are looked at exactly. All of them where there are no more observations."""

PRIOR_SCALE = (float(np.log(0.4)), 0.8)
"""Mean and standard deviation of the logarithm of a kernel's scale, in warped units."""

PRIOR_NOISE = (float(np.log(0.3)), 0.7)
"""The same for the noise of one observation."""

JITTER = 1e-8
"""Variance that is added to every observation's, so that covariances can be inverted whatever the noise is."""
_STEP = 1e-3


@dataclass(frozen=True)
class Evidence:
    """What the observations say, in a size that does not grow with their number.

    Of more than `DIRECTIONS` observations, the directions in which the kernels vary most are kept whole. What is
    orthogonal to them is taken for white, with the variance that it has on average.
    """

    base: Floats
    """Covariance of the unknown constant, shape `(directions, directions)`."""
    kernels: Floats
    """Covariance of every kernel at scale 1, shape `(kernels, directions, directions)`."""
    y: Floats
    """Shape `(directions,)`."""
    rest_variances: Floats
    """Mean variance of every kernel at scale 1 in the other directions, shape `(kernels,)`."""
    rest_power: float
    """Sum of squares of the observations in the other directions."""
    rest_count: float
    """How many other directions there are."""

    @staticmethod
    def of(kernels: Floats, y: Floats) -> Evidence:
        """Take the leading directions of observations.

        Args:
            kernels: covariance of every kernel at scale 1, shape `(kernels, observations, observations)`.
            y: warped accuracies, shape `(observations,)`.
        """
        n, rest = len(y), max(len(y) - DIRECTIONS, 0)
        base = np.ones((n, n))
        if not rest:
            return Evidence(base, kernels, y, np.zeros(len(kernels)), 0.0, 0.0)
        leading = eigh(kernels.sum(axis=0) + base, subset_by_index=(rest, n - 1))[1]
        inside = leading.T @ kernels @ leading
        traces = np.trace(kernels, axis1=1, axis2=2) - np.trace(inside, axis1=1, axis2=2)
        projected = leading.T @ y
        power = max(float(y @ y - projected @ projected), 0.0)
        return Evidence(
            leading.T @ base @ leading, inside, projected, np.maximum(traces, 0.0) / rest, power, float(rest)
        )

    @property
    def observations(self) -> int:
        """How many observations there were."""
        return len(self.y) + round(self.rest_count)

    def prior(self) -> tuple[Floats, Floats]:
        """Return means and standard deviations of the unknowns: a logarithm for each kernel, then for the noise."""
        number = len(self.kernels)
        means, sds = zip(*[PRIOR_SCALE] * number, PRIOR_NOISE, strict=True)
        return np.array(means), np.array(sds)

    def energy(self, unknowns: Floats) -> tuple[float, Floats]:
        """Return the negative logarithm of the posterior density, up to a constant, and its gradient."""
        means, sds = self.prior()
        variances = np.exp(2 * unknowns)
        noise = variances[-1] + JITTER
        covariance = self.base + np.tensordot(variances[:-1], self.kernels, axes=1)
        covariance[np.diag_indices_from(covariance)] += noise
        inverse = np.linalg.inv(covariance)
        solved = inverse @ self.y
        log_det = 2 * np.log(np.diag(np.linalg.cholesky(covariance))).sum()
        outside = noise + float(variances[:-1] @ self.rest_variances)
        value = 0.5 * (self.y @ solved + log_det + self.rest_power / outside + self.rest_count * np.log(outside))
        slope = inverse - np.outer(solved, solved)
        beyond = self.rest_count / outside - self.rest_power / outside**2
        inner = np.tensordot(self.kernels, slope, axes=2) + beyond * self.rest_variances
        gradient = variances * np.append(inner, np.trace(slope) + beyond)
        off = (unknowns - means) / sds
        return float(value + 0.5 * off @ off), gradient + off / sds


@dataclass(frozen=True)
class Mode:
    """Where the posterior of the unknowns is highest, and the normal distribution that it looks like there."""

    at: Floats
    factor: Floats
    """Square root of the covariance, shape `(unknowns, unknowns)`: `at + factor @ z` for standard normal `z`."""

    @staticmethod
    def find(evidence: Evidence) -> Mode:
        """Climb from the prior's mean (L-BFGS), and measure the curvature by differences of gradients."""
        means, sds = evidence.prior()
        bounds = list(zip(means - 6 * sds, means + 4 * sds, strict=True))
        at = minimize(evidence.energy, means, jac=True, method="L-BFGS-B", bounds=bounds).x
        steps = _STEP * np.eye(len(at))
        rows = [(evidence.energy(at + step)[1] - evidence.energy(at - step)[1]) / (2 * _STEP) for step in steps]
        curvature, axes = np.linalg.eigh((np.array(rows) + np.array(rows).T) / 2)
        # Nothing is known less well than the prior says, whatever the curvature is at one point.
        return Mode(at, axes / np.sqrt(np.maximum(curvature, 1 / sds.max() ** 2)))

    def spread(self, count: int, seed: int) -> Floats:
        """Return values of the unknowns spread over the normal distribution, shape `(count, unknowns)`.

        A scrambled Sobol sequence (Owen 1998), which fills it more evenly than draws at random do.
        """
        sequence = qmc.Sobol(len(self.at), scramble=True, rng=np.random.default_rng(seed))
        cubes = sequence.random_base2(int(np.ceil(np.log2(count))))[:count]
        return np.asarray(self.at + norm.ppf(np.clip(cubes, 1e-6, 1 - 1e-6)) @ self.factor.T)
