"""What a module costs, and how it behaves, at one point: for the fields of its contract that are no rules."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from llmastool.canonical import Json
from llmastool.modes import evaluating, training
from llmastool.registry.call import Call, example
from llmastool.registry.runner import Runner, count_flops, forward, parameters
from llmastool.trees.profile import Shape

_PASSES = 16
"""Passes in eval mode of a module that draws by chance: what it draws may decide only now and then."""


def traits(
    real: Runner, fast: Runner, args: Mapping[str, Json], in_shape: Shape, out_shape: Shape, call: Call
) -> dict[str, Any]:
    """Return parameters, multiply-adds and behaviour of a module, as fields of a contract.

    Args:
        real: runs the module on a real device.
        fast: may run it on the meta device; for counting.
        args: constructor arguments.
        in_shape: shape of the input.
        out_shape: shape of the output.
        call: how it is called.

    Raises:
        Exception: whatever the module raises.
    """
    net, x = real.build(args), example(in_shape, call.dtype)
    flops, _ = count_flops(fast.build(args), example(in_shape, call.dtype, fast.device), call)
    with torch.no_grad():
        trained = forward(net, x.clone(), call)
        net.eval()
        first = forward(net, x.clone(), call)
        steady = _is_steady(net, x, call, first)
    return {
        "parameters": parameters(net),
        "flops": flops,
        "batch_one": _takes_one(net, in_shape, out_shape, call),
        "deterministic": steady,
        "train_eval_differ": trained.shape != first.shape or not torch.allclose(trained, first, atol=1e-6),
    }


def _is_steady(net: torch.nn.Module, x: torch.Tensor, call: Call, first: torch.Tensor) -> bool:
    """Return whether further passes give the first output again; of what draws by chance, many of them."""
    passes = 1
    for seed in itertools.count(1):
        before = random.getstate(), np.random.get_state(legacy=False)["state"]["pos"]
        out = forward(net, x.clone(), call, seed=seed)
        if not torch.equal(first, out):
            return False
        drew = not torch.equal(torch.default_generator.get_state(), torch.Generator().manual_seed(seed).get_state())
        if drew or (random.getstate(), np.random.get_state(legacy=False)["state"]["pos"]) != before:
            passes = _PASSES
        if seed >= passes:
            break
    return True


def _takes_one(net: torch.nn.Module, in_shape: Shape, out_shape: Shape, call: Call) -> bool:
    try:
        with torch.no_grad():
            out = forward(training(net), example((1, *in_shape[1:]), call.dtype), call)
    except Exception:  # noqa: BLE001 - foreign code may raise anything; that it fails is the observation
        return False
    return len(out.shape) == len(out_shape) and tuple(out.shape[1:]) == out_shape[1:]


def keeps_samples_apart(net: torch.nn.Module, shape: Shape, call: Call) -> bool:
    """Return whether, in eval mode, the first output of a batch depends on the first input alone."""
    x = example(shape, call.dtype)
    changed = torch.cat([x[:1], example(shape, call.dtype, seed=1)[1:]])
    try:
        with torch.no_grad():
            out, other = forward(evaluating(net), x, call), forward(net, changed, call)
    except Exception:  # noqa: BLE001 - foreign code may raise anything; then it does not keep them apart
        return False
    if shape[0] < 2 or out.dim() < 1 or out.shape[0] != shape[0] or other.shape != out.shape:
        return False
    return torch.allclose(out[0], other[0], atol=1e-5)
