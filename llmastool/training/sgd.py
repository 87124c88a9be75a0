"""Stochastic gradient descent as `torch.optim.SGD` does it, without what that class brings along.

A step of `torch.optim.SGD` imports PyTorch's compiler, which takes longer than many a short training does.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd


class SGD:
    """Moves parameters down their gradients, with momentum; the numbers are those of `torch.optim.SGD`."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, momentum: float, weight_decay: float, nesterov: bool
    ) -> None:
        """Say what is moved, and how; all as of `torch.optim.SGD`."""
        self._parameters = list(parameters)
        self._momentum, self._weight_decay, self._nesterov = momentum, weight_decay, nesterov
        self.buffers: list[Tensor | None] = [None] * len(self._parameters)
        """The momentum of each parameter; None before its first step."""

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    def step(self, rate: float) -> None:
        """Take a step at a learning rate. Parameters that have no gradient stay where they are."""
        moved = [i for i, parameter in enumerate(self._parameters) if parameter.grad is not None]
        grads = [grad for i in moved if (grad := self._parameters[i].grad) is not None]
        buffers = [self.buffers[i] for i in moved]
        with torch.no_grad():
            sgd(
                [self._parameters[i] for i in moved],
                grads,
                buffers,
                has_sparse_grad=any(grad.is_sparse for grad in grads),
                weight_decay=self._weight_decay,
                momentum=self._momentum,
                lr=rate,
                dampening=0.0,
                nesterov=self._nesterov,
                maximize=False,
            )
        for i, buffer in zip(moved, buffers, strict=True):
            self.buffers[i] = buffer
