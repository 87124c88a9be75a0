"""`torch.compile` where it pays: decided by how long an epoch takes and how many are left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import nn

Forward: TypeAlias = Callable[..., Any]
"""A network, or what was made of it, that maps images to logits."""


@dataclass(frozen=True, kw_only=True)
class Compiler:
    """When a network is compiled, and when it is gone back to as it was."""

    price: float = 60.0
    """Seconds that compiling is expected to take, forward and backward."""
    gain: float = 0.2
    """Share of an epoch's time that it is expected to save."""
    backend: str = "inductor"
    """Of `torch.compile`."""

    def pays(self, seconds: float, left: int) -> bool:
        """Return whether compiling is expected to save more than it costs.

        Args:
            seconds: what an epoch takes as it is.
            left: epochs that are left.
        """
        return self.gain * seconds * left > self.price

    def compiled(self, net: nn.Module) -> Forward:
        """Return the network compiled, with the same weights. What cannot be compiled of it runs as it is."""
        torch._dynamo.config.suppress_errors = True
        compiled: Forward = torch.compile(net, backend=self.backend, dynamic=False)
        return compiled


class Choice:
    """How an epoch is run, the network as it is or compiled, learned from how long epochs took."""

    def __init__(self, net: nn.Module, compiler: Compiler | None) -> None:
        self._net, self._compiler = net, compiler
        self._plain = 0.0
        self._compiled_epochs = 0
        self.forward: Forward = net

    def took(self, seconds: float, left: int) -> None:
        """Take in how long an epoch took, of which so many are left, and choose how the next one is run."""
        if self._compiler is None:
            return
        if self.forward is self._net:
            self._plain = seconds
            if not self._compiled_epochs and self._compiler.pays(seconds, left):
                self.forward = self._compiler.compiled(self._net)
            return
        self._compiled_epochs += 1
        # The first one holds the compiling itself; the second tells whether it was worth it.
        if self._compiled_epochs == 2 and seconds >= self._plain:
            self.forward = self._net
