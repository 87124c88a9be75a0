"""Kernels as a few features each, and what these features leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llmastool.planner.space import Coordinates, Floats, align, squared_distances


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One additive part of the model: a covariance over some groups of features, of about 1 for a usual network."""

    name: str
    kind: Literal["linear", "matern"]
    groups: tuple[str, ...]
    rank: int
    """Number of features by which it is represented."""

    def __call__(self, a: Coordinates, b: Coordinates, length: float) -> Floats:
        """Return the covariance, shape `(networks of a, networks of b)`; `length` is in units of distance."""
        if self.kind == "matern":
            scaled = np.sqrt(3 * squared_distances(a, b, self.groups)) / length
            return np.asarray((1 + scaled) * np.exp(-scaled))
        total = np.zeros((len(a[self.groups[0]]), len(b[self.groups[0]])))
        for group in self.groups:
            x, y = align(a[group], b[group])
            total += x @ y.T
        return total / len(self.groups)

    def diagonal(self, a: Coordinates) -> Floats:
        """Return the variance of every network, shape `(networks,)`."""
        if self.kind == "matern":
            return np.ones(len(a[self.groups[0]]))
        total = np.sum([np.sum(a[group] ** 2, axis=1) for group in self.groups], axis=0)
        return np.asarray(total / len(self.groups))


KERNELS = (
    Kernel(name="cost_linear", kind="linear", groups=("cost",), rank=8),
    Kernel(name="family_linear", kind="linear", groups=("family",), rank=8),
    Kernel(name="module_linear", kind="linear", groups=("module",), rank=8),
    Kernel(name="content", kind="matern", groups=("cost", "module"), rank=24),
    Kernel(name="structure", kind="matern", groups=("stage", "motif"), rank=32),
)
"""The parts of the model: an additive Gaussian process, with Matern kernels of smoothness 3/2 for what is not linear.

What a module is worth is what its family is worth and a part of its own, each with a scale: where modules of a family
are alike, its own part is small.
"""

WIDTH = 1 + sum(kernel.rank for kernel in KERNELS)
"""Number of features of the whole model: a constant, then each kernel's, padded with zeros."""

OWNER = np.repeat(np.arange(len(KERNELS)), [kernel.rank for kernel in KERNELS])
"""Which kernel each feature after the constant belongs to."""


@dataclass(frozen=True)
class LowRank:
    """A kernel as the leading eigen-features of its Gram matrix over the training networks (Williams and Seeger 2001).

    Exact among the training networks while there are no more of them than `kernel.rank`. Of a network unlike all of
    these the features say little; `residual` is the covariance that they leave out, which keeps the model unsure there.
    """

    kernel: Kernel
    length: float
    train: Coordinates
    projection: Floats
    """Shape `(training networks, kernel.rank)`, from covariances with these to features."""

    @staticmethod
    def fit(kernel: Kernel, train: Coordinates, length: float) -> LowRank:
        """Take the leading eigenvectors over the training networks."""
        values, vectors = np.linalg.eigh(kernel(train, train, length))
        order = np.argsort(values)[::-1][: kernel.rank]
        order = order[values[order] > 1e-8 * max(float(values[-1]), 1e-8)]
        projection = np.zeros((len(vectors), kernel.rank))
        projection[:, : len(order)] = vectors[:, order] / np.sqrt(values[order])
        return LowRank(kernel, length, train, projection)

    def features(self, networks: Coordinates) -> Floats:
        """Return the features, shape `(networks, kernel.rank)`."""
        return self.kernel(networks, self.train, self.length) @ self.projection

    def residual_variance(self, networks: Coordinates, features: Floats) -> Floats:
        """Return, for every network, the variance that its features leave out, 0 or more."""
        return np.maximum(self.kernel.diagonal(networks) - np.sum(features**2, axis=1), 0.0)

    def residual_with(self, networks: Coordinates, features: Floats, index: int) -> Floats:
        """Return the covariance of every network with the one at `index` that their features leave out."""
        one = {group: values[index : index + 1] for group, values in networks.items()}
        return self.kernel(networks, one, self.length)[:, 0] - features @ features[index]


def design(blocks: Sequence[LowRank], networks: Coordinates) -> Floats:
    """Return all features of some networks side by side, the constant first, shape `(networks, WIDTH)`."""
    own = [block.features(networks) for block in blocks]
    return np.hstack([np.ones((len(own[0]), 1)), *own])


def parts(blocks: Sequence[LowRank], features: Floats) -> list[Floats]:
    """Split what `design` returned into each block's own features, the constant left out."""
    ends = np.cumsum([1, *(block.kernel.rank for block in blocks)])
    return np.split(features, ends, axis=1)[1:-1]


def spread_scales(scales: Floats) -> Floats:
    """Repeat each kernel's scale over its features, the constant's 1 first: `(draws, kernels)` to `(draws, WIDTH)`."""
    return np.hstack([np.ones((len(scales), 1)), scales[:, OWNER]])


def by_name(values: Sequence[float]) -> Mapping[str, float]:
    """Name one value per kernel."""
    return {kernel.name: float(value) for kernel, value in zip(KERNELS, values, strict=True)}
