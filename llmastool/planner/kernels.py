"""The parts of the model: an additive Gaussian process over what is known of networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from llmastool.planner.space import Coordinates, align, squared_distances
from llmastool.planner.table import Floats


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One additive part: a covariance over some groups of features, of about 1 for a usual network."""

    name: str
    kind: Literal["linear", "matern"]
    groups: tuple[str, ...]

    def __call__(self, a: Coordinates, b: Coordinates, length: float) -> Floats:
        """Return the covariance, shape `(networks of a, networks of b)`; `length` is in units of distance."""
        if self.kind == "matern":
            scaled = np.sqrt(5 * squared_distances(a, b, self.groups)) / length
            return np.asarray((1 + scaled + scaled**2 / 3) * np.exp(-scaled))
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
    Kernel(name="cost_linear", kind="linear", groups=("cost",)),
    Kernel(name="family_linear", kind="linear", groups=("family",)),
    Kernel(name="module_linear", kind="linear", groups=("module",)),
    Kernel(name="content", kind="matern", groups=("cost", "module")),
    Kernel(name="structure", kind="matern", groups=("stage", "motif")),
)
"""Linear in costs and counts, and Matern kernels of smoothness 5/2 for what is not linear: what a network is made of,
and how that stands together.

What a module is worth is what its family is worth and a part of its own, each with a scale: where modules of a family
are alike, its own part is small.
"""

WITHOUT_COSTS = (*KERNELS[1:3], replace(KERNELS[3], groups=("module",)), KERNELS[4])
"""The same for a planner that is not told what networks cost."""

FUNCTION = Kernel(name="function_linear", kind="linear", groups=("function",))
"""What modules do, whichever they are."""


RUNG = Kernel(name="rung_linear", kind="linear", groups=("rung",))
"""How far accuracies that were carried over from a rung are off as a whole; nothing at the end."""


def select(*, costs: bool, functions: bool) -> tuple[Kernel, ...]:
    """Return the parts of a model that is told what networks cost, and what their modules do, or not."""
    return (*(KERNELS if costs else WITHOUT_COSTS), *((FUNCTION,) if functions else ()))


def covariances(kernels: Sequence[Kernel], a: Coordinates, b: Coordinates, length: float) -> Floats:
    """Return the covariance of every kernel at scale 1, shape `(kernels, networks of a, networks of b)`."""
    return np.stack([kernel(a, b, length) for kernel in kernels])


def by_name(kernels: Sequence[Kernel], values: Sequence[float]) -> Mapping[str, float]:
    """Name one value per kernel."""
    return {kernel.name: float(value) for kernel, value in zip(kernels, values, strict=True)}
