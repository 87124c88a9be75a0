"""A fingerprint of the function that a module computes, equal for modules that compute the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import nn

from llmastool.canonical import Json, digest
from llmastool.registry.call import example
from llmastool.registry.claims import at_probe, complete
from llmastool.registry.contract import Contract, solve
from llmastool.registry.runner import forward
from llmastool.registry.weights import set_weights
from llmastool.trees.profile import Shape

_CHANNELS, _OUT_CHANNELS, _SIZE = 48, 24, 16
"""Where all modules are compared that can be: other numbers than any module is built with by default."""

_PASSES = (("eval", 0), ("train", 0), ("train", 1))
"""Modes and seeds of the passes that are compared. What is drawn by chance in train mode shows in the last two."""

_PROJECTIONS = 2
"""Numbers that are kept of each output."""

_MOST_PARAMETERS, _MOST_FLOPS = 20_000_000, 1_000_000_000
"""Networks beyond this are not compared: they would cost more than they are worth."""

Build = Callable[[Mapping[str, Json]], nn.Module]


def fingerprint(build: Build, contract: Contract) -> Json:
    """Return what is compared: `key`, which has to be equal, and `values`, which have to be close.

    All weights are set from their shapes, so that two modules with the same function and differently named, or
    differently ordered, parameters agree. Returns an empty object for what draws by chance in eval mode or is large.

    Args:
        build: builds the module from constructor arguments.
        contract: its contract.

    Raises:
        Exception: whatever the module raises.
    """
    if not contract.deterministic or contract.parameters > _MOST_PARAMETERS or contract.flops > _MOST_FLOPS:
        return {}
    args, shape, out_shape = _standard(contract)
    net = build(args)
    shapes = set_weights(net)
    values: list[float] = []
    for mode, seed in _PASSES:
        net.train(mode == "train")
        with torch.no_grad():
            out = forward(net, example(shape, contract.call.dtype, seed=2), contract.call, seed=seed)
        if not torch.isfinite(out).all():
            return {}
        values += _projected(out)
    key = [contract.call.to_json(), list(shape), list(out_shape), sorted(shapes), _rules(contract)]
    return {"key": digest(key)[:16], "values": [float(f"{v:.5g}") for v in values]}


def _standard(contract: Contract) -> tuple[Mapping[str, Json], Shape, Shape]:
    """Return arguments and shapes at the point at which all modules are compared, or at the probe point."""
    start = at_probe(contract)
    changes: list[dict[str, object]] = [{"channels": _CHANNELS}, {"sizes": (_SIZE,) * len(start.sizes)}]
    if start.out_channels is not None:
        changes.append({"out_channels": _OUT_CHANNELS})
    claim = start
    for change in changes:
        moved = complete(contract, replace(claim, **change))  # type: ignore[arg-type]
        if moved is not None and solve(contract, moved.in_shape, moved.out_shape) is not None:
            claim = moved
    args = solve(contract, claim.in_shape, claim.out_shape)
    if args is None:
        return contract.args, contract.in_shape, contract.out_shape
    return args, claim.in_shape, claim.out_shape


def _rules(contract: Contract) -> Json:
    """Return in which ways a module can be varied: two that differ here are of different use."""
    return [
        contract.layout_in,
        contract.layout_out,
        bool(contract.in_args) or contract.any_channels,
        bool(contract.out_args),
        contract.out_ratio,
        contract.any_size,
        contract.size_ratio,
        contract.size_offset,
        contract.max_stride,
        len(contract.free),
    ]


def _projected(out: torch.Tensor) -> list[float]:
    """Return an output's inner products with fixed random tensors."""
    flat = out.detach().flatten().float()
    weights = [example((flat.numel(),), seed=100 + i) for i in range(_PROJECTIONS)]
    return [float(flat @ w) / math.sqrt(flat.numel()) for w in weights]
