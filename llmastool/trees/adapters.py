"""Adapters: the fewest ordinary nodes that turn one shape into another, across layout, channels and resolution."""

from __future__ import annotations

from math import isqrt

from llmastool.registry.contract import CHANNEL_AXIS
from llmastool.trees.profile import Layout, Shape
from llmastool.trees.tree import Tree

_CONVERTED = frozenset({"NCHW", "NHWC", "BNC", "BC"})
"""Layouts between which there are adapters."""


def convert(shape: Shape, layout: Layout, to: Layout) -> tuple[Shape, list[Tree]] | None:
    """Return a tensor's shape in another layout and the nodes that bring it there, or None where there is no way.

    Tokens become a map only when their number is a square.
    """
    if layout == to:
        return shape, []
    if not {layout, to} <= _CONVERTED:
        return None
    if (layout, to) == ("NCHW", "BNC"):
        return (shape[0], shape[2] * shape[3], shape[1]), [Tree("llmastool.blocks.MapToTokens")]
    if (layout, to) == ("BNC", "NCHW"):
        side = isqrt(shape[1])
        if side * side != shape[1]:
            return None
        node = Tree("llmastool.blocks.TokensToMap", {"height": side, "width": side})
        return (shape[0], shape[2], side, side), [node]
    if (layout, to) == ("NCHW", "NHWC"):
        return (shape[0], shape[2], shape[3], shape[1]), [Tree("llmastool.blocks.ChannelsLast")]
    if (layout, to) == ("NHWC", "NCHW"):
        return (shape[0], shape[3], shape[1], shape[2]), [Tree("llmastool.blocks.ChannelsFirst")]
    if "BC" in (layout, to):
        return None
    through = convert(shape, layout, "NCHW")
    onward = convert(through[0], "NCHW", to) if through is not None else None
    return (onward[0], [*through[1], *onward[1]]) if through is not None and onward is not None else None


def bridge(shape: Shape, target: Shape, layout: Layout) -> list[Tree] | None:
    """Return the nodes that turn `shape` into `target`, both in one layout; empty when they are equal, None if none do.

    Maps: a 1x1 convolution for the channels, strided where the resolution falls by a whole factor, an average pool
    where only the resolution falls, nearest-neighbour upsampling where it grows. Tokens and vectors: a linear layer.
    """
    if shape == target:
        return []
    if len(shape) != len(target) or shape[0] != target[0]:
        return None
    axis = CHANNEL_AXIS[layout]
    channels, wanted = shape[axis], target[axis]
    if layout in ("BNC", "BC"):
        same_positions = layout == "BC" or shape[1] == target[1]
        node = Tree("torch.nn.Linear", {"in_features": channels, "out_features": wanted})
        return [node] if same_positions else None
    if layout == "NHWC":
        inner = bridge(_first(shape), _first(target), "NCHW")
        ends = Tree("llmastool.blocks.ChannelsFirst"), Tree("llmastool.blocks.ChannelsLast")
        return [ends[0], *inner, ends[1]] if inner is not None else None
    return _bridge_maps(channels, wanted, shape[2:], target[2:])


def _first(shape: Shape) -> Shape:
    return (shape[0], shape[3], shape[1], shape[2])


def _bridge_maps(channels: int, wanted: int, size: Shape, target: Shape) -> list[Tree] | None:
    down = {s // t if s % t == 0 else 0 for s, t in zip(size, target, strict=True)}
    up = {t // s if t % s == 0 else 0 for s, t in zip(size, target, strict=True)}
    factor = down.pop() if len(down) == 1 else 0
    growth = up.pop() if len(up) == 1 else 0
    args = {"in_channels": channels, "out_channels": wanted, "kernel_size": 1, "bias": False}
    if factor >= 1 and channels != wanted:
        return [Tree("torch.nn.Conv2d", {**args, "stride": factor} if factor > 1 else args)]
    if factor > 1:
        return [Tree("torch.nn.AvgPool2d", {"kernel_size": factor})]
    if growth > 1:
        upsample = Tree("torch.nn.Upsample", {"scale_factor": growth})
        return [Tree("torch.nn.Conv2d", args), upsample] if channels != wanted else [upsample]
    return None


def sequence(nodes: list[Tree]) -> Tree:
    """Return one node that runs the given ones in order."""
    if len(nodes) == 1:
        return nodes[0]
    return Tree("torch.nn.Sequential", {}, tuple((str(i), node) for i, node in enumerate(nodes)))
