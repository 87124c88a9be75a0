"""Run one module on one input, and say what came of it. Used by the probe, inside the sandbox."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from llmastool.canonical import Json
from llmastool.meta import shapes_only
from llmastool.modes import training
from llmastool.registry.call import PLAIN, Call, example
from llmastool.registry.patience import patience
from llmastool.trees.profile import Shape

SEED = 0

PATIENCE = 4.0
"""CPU seconds of one constructor or forward after which it is given up."""


class NotATensor(ValueError):  # noqa: N818 - an observation about a module
    """A forward returned no floating-point tensor."""


class Runner:
    """Builds and runs a class with varying arguments and inputs, remembering what it has seen."""

    def __init__(self, cls: type[nn.Module], decode: Callable[[Json], Any], device: str = "cpu") -> None:
        self.cls = cls
        self.decode = decode
        self.device = device
        self._seen: dict[str, Shape | None] = {}
        self._last: tuple[str, nn.Module] | None = None

    @property
    def signature(self) -> inspect.Signature:
        """Signature of the constructor, `self` left out; where it only passes on `*args`, that of the base behind."""
        for cls in self.cls.__mro__:
            if "__init__" in vars(cls):
                parameters = list(inspect.signature(vars(cls)["__init__"]).parameters.values())[1:]
                if any(p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters) or not parameters:
                    return inspect.Signature(parameters)
        return inspect.Signature()

    def build(self, args: Mapping[str, Json], device: str | None = None) -> nn.Module:
        """Return the module, initialised from a fixed seed, in train mode.

        Raises:
            Exception: whatever the constructor raises; TypeError where it makes no `nn.Module`.
        """
        torch.default_generator.manual_seed(SEED)  # of the CPU alone: seeding all devices takes milliseconds
        device = device or self.device
        with torch.device(device), patience(PATIENCE), shapes_only(device):
            built = self.cls(**{k: self.decode(v) for k, v in args.items()})
        if not isinstance(built, nn.Module):
            raise TypeError(f"the constructor returned {type(built).__name__}, expected a torch.nn.Module")
        return training(built)

    def observe(self, args: Mapping[str, Json], shape: Shape, call: Call = PLAIN) -> Shape | None:
        """Return the output's shape for an input's shape, or None where the module does not take it."""
        named = _named(args)
        key = f"{named} {shape} {call}"
        if key not in self._seen:
            self._seen[key] = self._observe(named, args, shape, call)
        return self._seen[key]

    def size(self, args: Mapping[str, Json]) -> int:
        """Return the number of modules within the module, itself included.

        Raises:
            Exception: what the constructor raises.
        """
        return sum(1 for _ in self._net(_named(args), args).modules())

    def _net(self, named: str, args: Mapping[str, Json]) -> nn.Module:
        """Return the module that was looked at last where it has these arguments, else a new one."""
        if self._last is None or self._last[0] != named:
            self._last = named, self.build(args)
        return self._last[1]

    def _observe(self, named: str, args: Mapping[str, Json], shape: Shape, call: Call) -> Shape | None:
        try:
            with torch.no_grad():
                return tuple(forward(self._net(named, args), example(shape, call.dtype, self.device), call).shape)
        except Exception:  # noqa: BLE001 - foreign code may raise anything; "it does not take this" is the observation
            return None


def _named(args: Mapping[str, Json]) -> str:
    return repr(sorted(args.items(), key=str))


def forward(net: nn.Module, x: torch.Tensor, call: Call = PLAIN, seed: int = SEED) -> torch.Tensor:
    """Run a module and return its output. What it draws by chance it draws from the seed.

    Raises:
        NotATensor: what the call picks is no floating-point tensor.
    """
    args, kwargs = call.inputs(x)
    torch.default_generator.manual_seed(seed)
    with torch.device(x.device), patience(PATIENCE), shapes_only(x.device):
        out = net(*args, **kwargs)
    picked = call.pick(out)
    if not isinstance(picked, torch.Tensor) or not picked.is_floating_point():
        raise NotATensor(f"forward returned {describe(out)}, expected a floating-point tensor")
    if any(n == 0 for n in picked.shape):
        raise NotATensor(f"forward returned an empty tensor of shape {tuple(picked.shape)}")
    return picked


def find_output(out: Any, shape: Shape) -> tuple[Json, ...]:
    """Return the keys that lead to the most telling tensor in an output.

    That is one of the input's shape, else one that has its batch, else any of floating-point numbers.

    Raises:
        NotATensor: there is none.
    """
    found = list(_tensors(out, ()))
    if not found:
        raise NotATensor(f"forward returned {describe(out)}, expected a floating-point tensor")
    same = [f for f in found if tuple(f[1].shape) == shape]
    batched = [f for f in found if f[1].dim() > 1 and f[1].shape[0] == shape[0]]
    return (same or batched or found)[0][0]


def _tensors(value: Any, path: tuple[Json, ...]) -> Iterator[tuple[tuple[Json, ...], torch.Tensor]]:
    """Yield the floating-point tensors in an output, with the keys that lead to them."""
    if len(path) > 4:
        return
    if isinstance(value, torch.Tensor):
        if value.is_floating_point() and value.numel():
            yield path, value
    elif isinstance(value, Mapping):
        for key, inner in list(value.items())[:16]:
            if isinstance(key, str | int):
                yield from _tensors(inner, (*path, key))
    elif isinstance(value, tuple | list):
        for i, inner in enumerate(value[:16]):
            yield from _tensors(inner, (*path, i))
    elif hasattr(value, "__dict__"):
        for key, inner in list(vars(value).items())[:16]:
            yield from _tensors(inner, (*path, f".{key}"))


def describe(value: object) -> str:
    """Return a short description of a value's type."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of {value.dtype}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return type(value).__name__


def backward(net: nn.Module, x: torch.Tensor, call: Call = PLAIN) -> torch.Tensor:
    """Run forward and backward once and return the output.

    Raises:
        ValueError: the output or a gradient is not finite, or nothing to be learned got a gradient.
    """
    x = x.clone()
    if x.is_floating_point():
        x.requires_grad_()
    # What works in place is not to meet a leaf.
    out = forward(net, x if not x.requires_grad else x + 0, call)
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
    return out.detach()


def count_flops(net: nn.Module, x: torch.Tensor, call: Call = PLAIN) -> tuple[int, torch.Tensor]:
    """Return multiply-adds of one forward pass for one input, as PyTorch's counter sees them, and its output.

    Where the counter cannot count, they are 0.

    Raises:
        Exception: whatever the module raises.
    """
    net.requires_grad_(requires_grad=False)  # the counter's hooks fail on parameters that are passed as they are
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            out = forward(net, x, call)
    except (AssertionError, TypeError, NotImplementedError):
        with torch.no_grad():
            return 0, forward(net, x, call)  # what fails without the counter too is the module's own error
    return int(counter.get_total_flops()) // (2 * max(1, x.shape[0])), out


def parameters(net: nn.Module) -> int:
    """Return the number of parameters; those that are not known before the first input count for nothing."""
    return sum(math.prod(p.shape) for p in net.parameters() if not isinstance(p, nn.parameter.UninitializedParameter))
