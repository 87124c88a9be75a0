"""Whether two networks compute the same function: equal weights, equal input, outputs equal to the last bit."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from llmastool.modes import evaluating


def take_state(net: nn.Module, other: nn.Module) -> None:
    """Give a network the parameters and buffers of another.

    Raises:
        ValueError: it has others than that; the message names the first.
    """
    own, theirs = ({**dict(n.named_parameters()), **dict(n.named_buffers())} for n in (net, other))
    if own.keys() != theirs.keys():
        lacking, more = sorted(theirs.keys() - own.keys()), sorted(own.keys() - theirs.keys())
        raise ValueError(f"expected the same parameters and buffers; {lacking[:2]} are lacking, {more[:2]} too many")
    with torch.no_grad():
        for name, value in own.items():
            if value.shape != theirs[name].shape:
                raise ValueError(f"{name}: expected shape {tuple(theirs[name].shape)}, got {tuple(value.shape)}")
            value.copy_(theirs[name])


def same_function(net: nn.Module, other: nn.Module, x: torch.Tensor, seed: int = 0) -> bool:
    """Return whether two networks of the same state give the same output in eval mode, to the last bit.

    What they draw by chance they draw from the seed.
    """
    outs = []
    for each in (net, other):
        torch.manual_seed(seed)
        with torch.no_grad():
            outs.append(evaluating(each)(x.clone()))
    return _equal(*outs)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    return bool(a == b)
