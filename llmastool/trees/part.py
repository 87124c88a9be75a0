"""What is seen of a part of a network: its slots, what it gives, what it costs, and how it flows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from llmastool.trees.flow import Flow
from llmastool.trees.profile import Shape, Slot
from llmastool.trees.tree import join

ROOT = "<root>"
"""How messages name the empty path."""


@dataclass(frozen=True)
class Signal:
    """All that a module can tell of a tensor on the meta device."""

    shape: Shape
    strides: tuple[int, ...]
    dtype: torch.dtype

    @staticmethod
    def of(tensor: torch.Tensor) -> Signal:
        """Describe a tensor."""
        return Signal(tuple(tensor.shape), tensor.stride(), tensor.dtype)

    @staticmethod
    def image(shape: Shape) -> Signal:
        """Describe a new tensor of single precision."""
        return Signal.of(torch.empty(shape, device="meta"))

    def tensor(self) -> torch.Tensor:
        """Return such a tensor."""
        return torch.empty_strided(self.shape, self.strides, dtype=self.dtype, device="meta")


@dataclass(frozen=True)
class Part:
    """What was seen of a subtree."""

    slots: tuple[Slot, ...]
    """Itself, with the path that it was asked for, and all below that were called, a parent before its children."""
    sizes: tuple[int, ...]
    """Side, in positions, of the first input of every slot: 0 where it had none, or several."""
    out: Signal | str
    """What it gives, or the name of the type where that is not one tensor."""
    parameters: int
    flops: int
    """Floating-point operations, as PyTorch counts them, for the whole batch."""
    flow: Flow
    """Which of the slots reads what which other one gives."""

    def at(self, slot: str) -> Part:
        """Return the same as seen from a node in one of whose slots it stands."""
        return replace(self, slots=tuple(replace(s, path=join(slot, s.path)) for s in self.slots))
