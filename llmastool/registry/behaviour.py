"""What a module does to its input, as it was measured. Without PyTorch, so that a registry can be read at once."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from fractions import Fraction

from llmastool.canonical import Json
from llmastool.registry.contract import SIZE_AXES, Contract
from llmastool.trees.profile import Shape

GLOBAL = 0.9
"""Share of all positions from which on a reach is called global."""


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What was measured in eval mode at the probe point."""

    linear: bool
    """Whether it is an affine function of its input."""
    channels: bool
    """Whether an input channel moves several output channels."""
    reach: float
    """Share of output positions that a change at one input position moves; 0 where there are no positions."""
    windows: bool
    """Whether neighbours move the same positions, as in attention over all or over windows, not around themselves."""
    scale_free: bool
    """Whether doubling the input leaves the output alone, in train mode."""
    passes_input: bool
    """Whether, with all parameters zero, the input comes through."""
    gates: bool
    """Whether the output is the input, each number scaled by something that depends on others."""
    identity: bool
    """Whether the output is the input."""
    mixes: bool
    """Whether it multiplies by matrices or kernels, as convolutions and linear maps do."""
    layers: int
    """Number of its weight matrices and kernels."""
    parameters: int

    def to_json(self) -> Json:
        """Return a JSON value; `Behaviour(**value)` reads it back."""
        return asdict(self)

    def local(self, contract: Contract) -> bool:
        """Whether what comes out at a position depends on what came in there alone."""
        return self.reach <= 1.5 / max(1, positions(contract, contract.out_shape))


def positions(contract: Contract, shape: Shape) -> int:
    """Return how many positions its input or output has at the probe point; 1 where that is not known."""
    layout = contract.layout_in if shape == contract.in_shape else contract.layout_out
    return math.prod(shape[a] for a in SIZE_AXES.get(layout, ()))


def descriptors(contract: Contract, seen: Behaviour) -> tuple[str, ...]:
    """Return what a module does as words, sorted, for comparing modules that nobody has seen side by side."""
    local = seen.local(contract)
    said = {
        "linear" if seen.linear else "nonlinear": True,
        "mixes channels": seen.channels,
        "reaches its own position" if local else "reaches all" if seen.reach > GLOBAL else "reaches near": True,
        "windows": seen.windows and not local,
        "scale free": seen.scale_free,
        "passes its input": seen.passes_input,
        "gates": seen.gates,
        "weights": seen.parameters > 0,
        "several layers": seen.layers > 1,
        "fewer positions": Fraction(contract.size_ratio or 1) < 1,
        "differs in training": contract.train_eval_differ,
    }
    return tuple(sorted(word for word, holds in said.items() if holds))
