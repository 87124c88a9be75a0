"""Weights that depend on nothing but shapes."""

from __future__ import annotations

import math
from collections import Counter

import torch
from torch import nn

from llmastool.canonical import digest


def set_weights(net: nn.Module) -> list[str]:
    """Set every parameter by its shape and by how many of that shape came before it; return the shapes."""
    met: Counter[str] = Counter()
    for parameter in net.parameters():
        shape = tuple(parameter.shape)
        generator = torch.Generator().manual_seed(int(digest([list(shape), met[str(shape)]])[:8], 16))
        fan_in = math.prod(shape[1:]) if len(shape) > 1 else 1
        drawn = torch.randn(shape, generator=generator) / math.sqrt(max(1, fan_in))
        with torch.no_grad():
            parameter.copy_(drawn if len(shape) > 1 else 0.5 + 0.2 * drawn)
        met[str(shape)] += 1
    return list(met.elements())
