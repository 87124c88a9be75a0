"""Run one module on one input, and say what came of it. Used by the probe, inside the sandbox."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from llmastool.canonical import Json
from llmastool.trees.profile import Shape

SEED = 0


class NotOneTensor(ValueError):  # noqa: N818 - an observation about a module
    """A forward returned something other than one floating-point tensor."""


class Runner:
    """Builds and runs a class with varying arguments and inputs, remembering what it has seen."""

    def __init__(self, cls: type[nn.Module], decode: Callable[[Json], Any]) -> None:
        self.cls = cls
        self.decode = decode
        self.device = "cpu"
        self._seen: dict[str, Shape | None] = {}

    @property
    def signature(self) -> inspect.Signature:
        """Signature of the constructor, `self` left out; where it only passes on `*args`, that of the base behind."""
        for cls in self.cls.__mro__:
            if "__init__" in vars(cls):
                parameters = list(inspect.signature(vars(cls)["__init__"]).parameters.values())[1:]
                if any(p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters) or not parameters:
                    return inspect.Signature(parameters)
        return inspect.Signature()

    def build(self, args: Mapping[str, Json], device: str = "cpu") -> nn.Module:
        """Return the module, initialised from a fixed seed, in train mode.

        Raises:
            Exception: whatever the constructor raises; TypeError where it makes no `nn.Module`.
        """
        torch.manual_seed(SEED)
        with torch.device(device):
            built = self.cls(**{k: self.decode(v) for k, v in args.items()})
        if not isinstance(built, nn.Module):
            raise TypeError(f"the constructor returned {type(built).__name__}, expected a torch.nn.Module")
        return built.train()

    def observe(self, args: Mapping[str, Json], shape: Shape) -> Shape | None:
        """Return the output's shape for an input's shape, or None where the module does not take it."""
        key = repr((sorted(args.items(), key=str), shape))
        if key not in self._seen:
            self._seen[key] = self._observe(args, shape)
        return self._seen[key]

    def _observe(self, args: Mapping[str, Json], shape: Shape) -> Shape | None:
        try:
            net = self.build(args, self.device)
            with torch.no_grad():
                return tuple(forward(net, example(shape, self.device)).shape)
        except Exception:  # noqa: BLE001 - foreign code may raise anything; "it does not take this" is the observation
            return None


def example(shape: Shape, device: str = "cpu", seed: int = SEED) -> torch.Tensor:
    """Return a fixed random tensor of a shape, standard normal."""
    if device == "meta":
        return torch.empty(shape, device="meta")
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def forward(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Run a module and return its output.

    Raises:
        NotOneTensor: the output is not one floating-point tensor with a batch first.
    """
    out = net(x)
    if not isinstance(out, torch.Tensor) or not out.is_floating_point():
        raise NotOneTensor(f"forward returned {describe(out)}, expected one floating-point tensor")
    if out.dim() < 2 or out.shape[0] != x.shape[0]:
        raise NotOneTensor(f"forward returned shape {tuple(out.shape)} for a batch of {x.shape[0]}")
    return out


def describe(value: object) -> str:
    """Return a short description of a value's type."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of {value.dtype}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return type(value).__name__


def backward(net: nn.Module, x: torch.Tensor) -> None:
    """Run forward and backward once.

    Raises:
        ValueError: the output or a gradient is not finite, or nothing to be learned got a gradient.
    """
    x = x.clone().requires_grad_()
    out = forward(net, x)
    if not torch.isfinite(out).all():
        raise ValueError("the output is not finite")
    if not out.requires_grad:
        raise ValueError("the output does not depend on the input in a way that can be differentiated")
    (out * example(tuple(out.shape))).sum().backward()
    gradients = [p.grad for p in net.parameters() if p.grad is not None] + ([x.grad] if x.grad is not None else [])
    if not gradients:
        raise ValueError("neither the input nor any parameter got a gradient")
    if not all(torch.isfinite(g).all() for g in gradients):
        raise ValueError("a gradient is not finite")


def count_flops(net: nn.Module, x: torch.Tensor) -> int:
    """Return multiply-adds of one forward pass for one input, as PyTorch's counter sees them."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(x)
    return int(counter.get_total_flops()) // (2 * x.shape[0])
