"""Give a module a family from what it does to its input: what mixes, how far, whether it is linear, what it scales."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import nn

from llmastool.canonical import Json
from llmastool.registry.call import example
from llmastool.registry.contract import CHANNEL_AXIS, SIZE_AXES, Contract
from llmastool.registry.runner import forward as run

FAMILIES = (
    "activation", "attention", "channel mixing", "conv block", "convolution", "downsampling", "gating", "head",
    "identity", "linear", "network", "normalisation", "pooling", "residual block", "token mixing", "upsampling",
)  # fmt: skip
"""All families, `unknown` aside."""

_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What was measured in eval mode at the probe point."""

    linear: bool
    """Whether it is an affine function of its input."""
    channels: bool
    """Whether an output channel depends on another input channel."""
    reach: float
    """Share of output positions that a change at one input position moves; 0 where there are no positions."""
    scale_free: bool
    """Whether doubling the input leaves the output alone, in train mode."""
    passes_input: bool
    """Whether, with all parameters zero, the input comes through."""
    gates: bool
    """Whether the output is the input times one number per channel, which depends on the input."""
    mixes: bool
    """Whether it multiplies by matrices or kernels, as convolutions and linear maps do."""
    parameters: int

    def to_json(self) -> Json:
        """Return a JSON value."""
        return asdict(self)


def observe(net: nn.Module, contract: Contract) -> Behaviour:
    """Measure a module at the probe point of its contract; what cannot be measured counts as most general."""
    unknown = Behaviour(
        linear=False,
        channels=True,
        reach=1.0,
        scale_free=False,
        passes_input=False,
        gates=False,
        mixes=contract.flops > 0,
        parameters=contract.parameters,
    )
    if contract.layout_out == "other" or not contract.call.dtype.startswith("float"):
        return unknown
    try:
        return _measure(net, contract)
    except Exception:  # noqa: BLE001 - foreign code may raise anything, in eval mode or on other numbers too
        return unknown


def _measure(net: nn.Module, contract: Contract) -> Behaviour:
    x, noise = example(contract.in_shape), example(contract.in_shape, seed=1)
    net.eval()

    def forward(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return run(net, x.clone(), contract.call)

    with torch.no_grad():
        out = forward(net, x)
        mean = (out + forward(net, noise)) / 2
        linear = _close(forward(net, (x + noise) / 2), mean)
        channels, reach = _spread(lambda changed: forward(net, changed), x, out, contract)
        same = out.shape == x.shape
        gates = same and not linear and reach > 0 and _is_gate(x, out, contract)
        net.train()
        scale_free = _close(forward(net, 2 * x), forward(net, x)) and not _close(out, torch.zeros_like(out))
        net.eval()
        for parameter in net.parameters():
            parameter.zero_()
        rest = forward(net, x)
        passes = same and contract.parameters > 0 and (_close(rest, x) or _close(rest, torch.relu(x)))
    return Behaviour(
        linear=linear,
        channels=channels,
        reach=reach,
        scale_free=scale_free,
        passes_input=passes,
        gates=gates,
        mixes=contract.flops > 0,
        parameters=contract.parameters,
    )


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=_TOLERANCE, atol=_TOLERANCE)


def _spread(
    forward: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, out: torch.Tensor, contract: Contract
) -> tuple[bool, float]:
    """Change single channels at one position; return whether others move, and the largest share of positions."""
    axis, axis_out = CHANNEL_AXIS[contract.layout_in], CHANNEL_AXIS[contract.layout_out] - 1
    mixes, reach = False, 0.0
    for channel in {x.shape[axis] // 3, x.shape[axis] - 1}:
        place = tuple(0 if i == 0 else (channel if i == axis else n // 2) for i, n in enumerate(x.shape))
        changed = x.clone()
        changed[place] += 3.0
        moved = (forward(changed) - out).abs()[0] > _TOLERANCE * out.abs().max().clamp(min=1e-6)
        by_channel = moved.movedim(axis_out, 0).reshape(moved.shape[axis_out], -1).any(1)
        mixes = mixes or bool(by_channel.sum() > 1)
        if SIZE_AXES[contract.layout_out]:
            reach = max(reach, float(moved.any(axis_out).float().mean()))
    return mixes, reach


def _is_gate(x: torch.Tensor, out: torch.Tensor, contract: Contract) -> bool:
    ratio = out / torch.where(x.abs() < _TOLERANCE, torch.full_like(x, _TOLERANCE), x)
    first = ratio
    for axis in SIZE_AXES[contract.layout_in]:
        first = first.narrow(axis, 0, 1)
    wide = (ratio - first).abs() < 1e-2 * first.abs().clamp(min=1e-2)
    return bool(wide.float().mean() > 0.95) and not _close(out, x)


def family(contract: Contract, seen: Behaviour) -> str:
    """Return the family that a contract and a behaviour speak for."""
    if contract.layout_out not in SIZE_AXES:
        return "unknown"
    if contract.layout_out == "BC" and contract.layout_in != "BC":
        return "network" if contract.in_shape[CHANNEL_AXIS[contract.layout_in]] == 3 else "head"
    sizes = [contract.in_shape[a] for a in SIZE_AXES[contract.layout_in]]
    after = [contract.out_shape[a] for a in SIZE_AXES[contract.layout_out]]
    if contract.layout_in == contract.layout_out and after != sizes:
        if after > sizes:
            return "upsampling"
        return "downsampling" if seen.parameters else "pooling"
    if seen.passes_input and (seen.channels or seen.reach > 1 / max(1, sizes[0] if sizes else 1) ** 2):
        return "residual block"
    return _of_shape_keeping(seen, positions=_product(after))


def _of_shape_keeping(seen: Behaviour, positions: int) -> str:
    local = seen.reach <= 1.5 / max(1, positions)
    if seen.gates:
        return "gating"
    if seen.scale_free and not seen.mixes:
        return "normalisation"
    if local and not seen.channels:
        if not seen.linear:
            return "activation"
        return "normalisation" if seen.parameters else "identity"
    if local:
        return "linear" if seen.linear else "channel mixing"
    if seen.reach > 0.9:
        return "token mixing" if seen.linear else "attention"
    if not seen.parameters:
        return "pooling"
    return "convolution" if seen.linear else "conv block"


def _product(values: list[int]) -> int:
    total = 1
    for value in values:
        total *= value
    return total
