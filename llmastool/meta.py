"""Looking at shapes on the meta device without the long way round that PyTorch goes there.

No numbers exist on that device, yet PyTorch decomposes normalisations and activations into many steps, and draws
weights. Here they give a tensor of the shape that comes out, or the error that PyTorch raises. It holds for one thread
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as everybody calls it
from torch.nn import init
from torch.overrides import TorchFunctionMode


class ShapesOnly(TorchFunctionMode):
    """Within it, what is known to keep its input's shape does nothing else on the meta device."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one function of PyTorch."""
        short = _SHORT.get(func)
        x = args[0] if args else (kwargs or {}).get("input", (kwargs or {}).get("tensor"))
        if short is None or not isinstance(x, Tensor) or not x.is_meta or (x.requires_grad and func not in _FILLS):
            return func(*args, **(kwargs or {}))
        return short(*args, **(kwargs or {}))


def shapes_only(device: torch.device | str) -> AbstractContextManager[object]:
    """Return the mode on the meta device, and what does nothing elsewhere."""
    return ShapesOnly() if torch.device(device).type == "meta" else nullcontext()


def _fill(tensor: Tensor, *_: Any, **__: Any) -> Tensor:
    return tensor


def _same(input: Tensor, *args: Any, inplace: bool = False, **_: Any) -> Tensor:
    return input if inplace or (args and args[-1] is True) else torch.empty_like(input)


def _gelu(input: Tensor, *_: Any, **__: Any) -> Tensor:
    return torch.empty_like(input)


def _dropout(input: Tensor, _: float = 0.5, training: bool = True, inplace: bool = False, **__: Any) -> Tensor:
    return input if inplace or not training else torch.empty_like(input)


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    *_: Any,
    **__: Any,
) -> Tensor:
    if training and input.numel() == input.shape[1]:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.size()}")
    named = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for name, given in named.items():
        if given is not None and given.numel() != input.shape[1]:
            raise RuntimeError(f"{name} should contain {input.shape[1]} elements not {given.numel()}")
    return torch.empty_like(input)


def _layer_norm(input: Tensor, normalized_shape: Any, *_: Any, **__: Any) -> Tensor:
    wanted = tuple(normalized_shape)
    if tuple(input.shape[-len(wanted) :]) != wanted:
        inner = ", ".join(map(str, wanted))
        raise RuntimeError(
            f"Given normalized_shape=[{inner}], expected input with shape [*, {inner}], but got input of size"
            f"{list(input.shape)}"
        )
    return torch.empty_like(input)


def _instance_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    *_: Any,
    **__: Any,
) -> Tensor:
    for given in (weight, bias, running_mean, running_var):
        if given is not None and given.numel() != input.shape[1]:
            raise RuntimeError(f"expected {input.shape[1]} elements for as many channels, not {given.numel()}")
    return torch.empty_like(input)


def _softmax(input: Tensor, dim: int | None = None, *_: Any, dtype: torch.dtype | None = None, **__: Any) -> Tensor:
    axes = max(input.dim(), 1)
    if dim is not None and not -axes <= dim < axes:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-axes}, {axes - 1}], but got {dim})")
    return torch.empty_like(input, dtype=dtype)


def _group_norm(input: Tensor, num_groups: int, weight: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
    if input.dim() < 2 or input.shape[1] % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(input.shape)} and num_groups={num_groups}"
        )
    if weight is not None and weight.numel() != input.shape[1]:
        raise RuntimeError(
            "Expected weight to be a vector of size equal to the number of channels in input, but got weight of shape "
            f"{list(weight.shape)} and input of shape {list(input.shape)}"
        )
    return torch.empty_like(input)


_FILLS: frozenset[Callable[..., Any]] = frozenset(
    [
        *(value for name, value in vars(init).items() if name.endswith("_") and callable(value)),
        *(getattr(Tensor, f"{name}_") for name in ("normal", "uniform", "fill", "zero", "bernoulli", "exponential")),
    ]
)
"""Functions that change the numbers of a tensor and nothing else."""

_SHORT: Mapping[Callable[..., Any], Callable[..., Tensor]] = {
    **dict.fromkeys(_FILLS, _fill),
    **dict.fromkeys((F.relu, F.relu6, F.hardtanh, F.hardswish, F.hardsigmoid), _same),
    **dict.fromkeys((F.softmax, torch.softmax, Tensor.softmax, F.log_softmax), _softmax),
    torch.instance_norm: _instance_norm,
    F.gelu: _gelu,
    F.dropout: _dropout,
    F.batch_norm: _batch_norm,
    F.layer_norm: _layer_norm,
    F.group_norm: _group_norm,
}
