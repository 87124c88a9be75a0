"""Give a module a family from what it does to its input: what mixes, how far, whether it is linear, what it scales."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import nn

from llmastool.modes import evaluating
from llmastool.registry.behaviour import GLOBAL, Behaviour, positions
from llmastool.registry.call import example
from llmastool.registry.contract import CHANNEL_AXIS, SIZE_AXES, Contract, enlarged
from llmastool.registry.runner import forward
from llmastool.registry.weights import set_weights
from llmastool.trees.profile import Shape

FAMILIES = (
    "activation", "affine", "attention", "conv block", "convolution", "downsampling", "embedding", "gating", "head",
    "identity", "linear", "loss", "mlp", "network", "normalisation", "padding", "pooling", "regularisation",
    "reshape", "residual block", "stem", "token mixer", "upsampling",
)  # fmt: skip
"""All families, `unknown` aside."""

_TOLERANCE = 1e-4

_STRONG = 0.03
"""Share of the largest effect of one input position from which on another position counts as reached by it: what a
pooled signal does to all positions stays below it beside a convolution."""

_DEEP = 12
"""Weight matrices and kernels from which on what takes an image is a network, not a stem."""


def observe(net: nn.Module, contract: Contract) -> Behaviour:
    """Measure a module at the probe point of its contract; what cannot be measured counts as most general."""
    unknown = Behaviour(
        linear=False,
        channels=True,
        reach=1.0,
        windows=False,
        scale_free=False,
        passes_input=False,
        gates=False,
        identity=False,
        mixes=contract.flops > 0,
        layers=sum(p.dim() > 1 for p in net.parameters()),
        parameters=contract.parameters,
    )
    if contract.layout_out == "other" or not contract.call.dtype.startswith("float"):
        return unknown
    if _of_images(contract, unknown) == "network":
        return unknown  # more is not asked of it, and it would take long
    try:
        set_weights(net)  # as it is built, a layer of zeros may hide what it does
        return _Look(net, contract).measure(unknown)
    except Exception:  # noqa: BLE001 - foreign code may raise anything, in eval mode or on other numbers too
        return unknown


class _Look:
    """A module in eval mode, with an input and its output."""

    def __init__(self, net: nn.Module, contract: Contract, shape: Shape = ()) -> None:
        self.net, self.contract = evaluating(net), contract
        self.x = example(shape or contract.in_shape)
        self.out = self.run(self.x)

    @torch.no_grad()
    def run(self, x: torch.Tensor) -> torch.Tensor:
        return forward(self.net, x.clone(), self.contract.call)

    @torch.no_grad()
    def measure(self, unknown: Behaviour) -> Behaviour:
        x, out = self.x, self.out
        noise = example(self.contract.in_shape, seed=1)
        linear = _close(self.run((x + noise) / 2), (out + self.run(noise)) / 2)
        channels, reach, windows = self.spread()
        if reach > GLOBAL and not linear:
            reach = min(reach, self._reach_on_more_positions())
        alone = not channels and reach * out[0].numel() <= 1.5 * out.shape[CHANNEL_AXIS[self.contract.layout_out]]
        gates = not linear and not alone and self._gates()
        self.net.train()
        scale_free = _close(self.run(2 * x), self.run(x)) and not _close(out, torch.zeros_like(out))
        self.net.eval()
        for parameter in self.net.parameters():
            parameter.zero_()
        rest = self.run(x)
        return replace(
            unknown,
            linear=linear,
            channels=channels,
            reach=reach,
            windows=windows,
            scale_free=scale_free,
            passes_input=unknown.parameters > 0 and (_close(rest, x) or _close(rest, torch.relu(x))),
            gates=gates,
            identity=_close(out, x),
        )

    def spread(self) -> tuple[bool, float, bool]:
        """Change single numbers; return whether channels mix, the reach, and whether neighbours reach the same."""
        axis = CHANNEL_AXIS[self.contract.layout_in]
        mixes, reach, windows = False, 0.0, True
        for channel in sorted({self.x.shape[axis] // 3, self.x.shape[axis] - 1}):
            moved = self._moved(channel, 0)
            mixes = mixes or bool(self._by_channel(moved).sum() > 1)
            if SIZE_AXES[self.contract.layout_out]:
                here, there = self._positions(moved), self._positions(self._moved(channel, 1))
                reach = max(reach, float(here.float().mean()))
                windows = windows and bool(here.sum() > 1) and torch.equal(here, there)
        return mixes, reach, windows and reach > 0

    def _moved(self, channel: int, step: int) -> torch.Tensor:
        """Return by how much the first output moves when one number is changed, some steps past the middle."""
        axis = CHANNEL_AXIS[self.contract.layout_in]
        last = SIZE_AXES[self.contract.layout_in][-1:]
        place = tuple(
            0 if i == 0 else (channel if i == axis else min(n - 1, n // 2 + step * (i in last)))
            for i, n in enumerate(self.x.shape)
        )
        changed = self.x.clone()
        changed[place] += 3.0
        moved = (self.run(changed) - self.out).abs()[0]
        return torch.where(moved > _TOLERANCE * self.out.abs().max().clamp(min=1e-6), moved, 0)

    def _by_channel(self, moved: torch.Tensor) -> torch.Tensor:
        axis = CHANNEL_AXIS[self.contract.layout_out] - 1
        return moved.movedim(axis, 0).reshape(moved.shape[axis], -1).any(1)

    def _positions(self, moved: torch.Tensor) -> torch.Tensor:
        """Return which positions move by much; where that is one alone, as beside a skip, which move at all."""
        by_position = moved.amax(CHANNEL_AXIS[self.contract.layout_out] - 1)
        strong = by_position > _STRONG * by_position.max()
        return strong if strong.sum() > 1 else by_position > 0

    def _reach_on_more_positions(self) -> float:
        """Return the reach on an input twice as large: what grows with depth alone does not keep up with that."""
        contract = self.contract
        if not contract.any_size or contract.size_args or not SIZE_AXES[contract.layout_in]:
            return 1.0
        try:
            return _Look(self.net, contract, enlarged(contract.in_shape, contract.layout_in)).spread()[1]
        except Exception:  # noqa: BLE001 - foreign code may raise anything; then its reach stays as it was seen
            return 1.0

    def _gates(self) -> bool:
        """Return whether numbers that are zero stay zero whatever stands beside them."""
        if self.out.shape != self.x.shape:
            return False
        kept = example(self.contract.in_shape, seed=3) > 0
        out = self.run(self.x * kept)
        small = _TOLERANCE * out.abs().max()
        return bool((out[~kept].abs() <= small).all()) and bool((out[kept].abs() > small).float().mean() > 0.5)


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=_TOLERANCE, atol=_TOLERANCE)


def family(contract: Contract, seen: Behaviour) -> str:
    """Return the family that a contract and a behaviour speak for."""
    if not contract.out_shape or (contract.layout_out == "other" and math.prod(contract.out_shape) == 1):
        return "loss"
    if contract.layout_out not in SIZE_AXES:
        return "unknown"
    if not contract.call.dtype.startswith("float"):
        return "embedding" if seen.layers == 1 else "network"
    return _of_images(contract, seen) or _of_sizes(contract, seen) or _of_function(contract, seen)


def _of_images(contract: Contract, seen: Behaviour) -> str | None:
    """Return the family of what starts from the three colours of an image."""
    axes = SIZE_AXES[contract.layout_in]
    if len(axes) < 2 or contract.in_shape[CHANNEL_AXIS[contract.layout_in]] != 3 or contract.any_channels:
        return None
    if not seen.layers:
        return None
    if contract.layout_out == "BC":
        return "network" if seen.layers > 1 else "head"
    if seen.layers > _DEEP:
        return "network"
    return "stem" if positions(contract, contract.out_shape) < positions(contract, contract.in_shape) else None


def _of_sizes(contract: Contract, seen: Behaviour) -> str | None:
    """Return the family of what changes the layout, or the number of positions."""
    before, after = (positions(contract, s) for s in (contract.in_shape, contract.out_shape))
    kept = math.prod(contract.in_shape) == math.prod(contract.out_shape)
    if contract.layout_in != contract.layout_out:
        if not seen.parameters and kept and seen.linear:
            return "reshape"
        if contract.layout_out == "BC":
            return "head" if seen.parameters else "pooling"
    if before == after:
        return None
    if contract.size_ratio == "1":  # it only lacks, or adds, a margin
        return None if seen.parameters or seen.mixes else ("pooling" if seen.reach > 1.5 / after else "padding")
    if after > before:
        return "upsampling"
    return "downsampling" if seen.parameters or kept else "pooling"


def _of_function(contract: Contract, seen: Behaviour) -> str:
    """Return the family of what keeps the positions."""
    local = seen.local(contract)
    if seen.passes_input and (seen.channels or not local):
        return "residual block"
    if seen.gates and not seen.scale_free:
        return "gating"
    if seen.scale_free and not seen.mixes:
        return "normalisation"
    if local:
        return _of_positions(contract, seen)
    if not seen.parameters and not seen.mixes:
        return "pooling" if seen.reach < GLOBAL else "activation"
    if seen.linear:
        return "token mixer" if seen.reach > GLOBAL or seen.windows else "convolution"
    if seen.reach > GLOBAL or seen.windows:
        return "attention" if seen.channels else "token mixer"
    return "conv block"


def _of_positions(contract: Contract, seen: Behaviour) -> str:
    """Return the family of what treats every position by itself."""
    if seen.channels:
        if seen.linear:
            return "convolution" if len(SIZE_AXES[contract.layout_in]) > 1 and seen.parameters else "linear"
        return "mlp" if seen.parameters else "activation"
    if not seen.linear:
        return "activation"
    if seen.parameters:
        return "affine"
    if not seen.identity:
        return "reshape"
    return "regularisation" if contract.train_eval_differ else "identity"
