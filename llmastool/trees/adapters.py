"""Adapters: the cheapest chain of ordinary nodes that turns one shape into another.

The shapes may differ in layout, channels and resolution. A chain is found by search over a few steps: 1x1 convolutions,
strided ones, pools, upsampling, linear layers, and changes of layout. Equal shapes need none.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from math import isqrt
from typing import Literal, get_args

from llmastool.registry.contract import CHANNEL_AXIS, SIZE_AXES
from llmastool.trees.profile import Layout, Shape
from llmastool.trees.tree import Tree

_MOST_STEPS = 6
"""Most nodes of a chain."""

_PER_NODE = 1.0
_PER_FLOP = 1e-9
"""What a node costs, and what a multiply-add does: of chains equally long, the one that computes less is taken."""

_RANKS: Mapping[Layout, int] = {"NCHW": 4, "NHWC": 4, "BNC": 3, "BC": 2}
"""Number of axes of the layouts between which there are adapters."""

Style = Literal["cheapest", "average", "max", "convolution"]
"""How an adapter changes the resolution: as is cheapest, by average or maximum pooling, or by a strided convolution (a
transposed one where the resolution rises)."""

STYLES: tuple[Style, ...] = get_args(Style)

State = tuple[Layout, Shape]
Step = tuple[Tree, State, int]
"""A node, what it leads to, and its multiply-adds."""


def convert(shape: Shape, layout: Layout, to: Layout) -> tuple[Shape, list[Tree]] | None:
    """Return a tensor's shape in another layout and the nodes that bring it there, or None where there is no way.

    Nothing but the layout changes: tokens become a map only when their number is a square.
    """
    start: State = (layout, shape)
    seen: dict[State, list[Tree]] = {start: []}
    queue = [start]
    for state in queue:
        if state[0] == to:
            return state[1], seen[state]
        for node, after, _ in _other_layouts(state):
            if after not in seen:
                seen[after] = [*seen[state], node]
                queue.append(after)
    return None


def bridge(shape: Shape, target: Shape, layout: Layout, to: Layout | None = None) -> list[Tree] | None:
    """Return the cheapest nodes that turn `shape` into `target`; empty when they are equal, None if none do.

    Args:
        shape: what there is, batch first.
        target: what is wanted.
        layout: layout of `shape`.
        to: layout of `target`, the same if not given.
    """
    to = to or layout
    if shape == target and layout == to:
        return []
    if _RANKS.get(layout) != len(shape) or _RANKS.get(to) != len(target) or shape[0] != target[0]:
        return None
    found = _search((layout, shape), (to, target))
    return list(found) if found is not None else None


@functools.lru_cache(maxsize=16384)
def _search(start: State, goal: State) -> tuple[Tree, ...] | None:
    """Return the cheapest chain by Dijkstra's search; shapes recur, so what was found is remembered."""
    order = itertools.count()  # of what costs the same, the first
    queue: list[tuple[float, int, State, tuple[Tree, ...]]] = [(0.0, next(order), start, ())]
    done: set[State] = set()
    while queue:
        cost, _, state, nodes = heapq.heappop(queue)
        if state == goal:
            return nodes
        if state in done or len(nodes) == _MOST_STEPS:
            continue
        done.add(state)
        for node, after, flops in _steps(state, goal):
            if after not in done:
                more = cost + _PER_NODE + _PER_FLOP * flops
                heapq.heappush(queue, (more, next(order), after, (*nodes, node)))
    return None


def restyled(nodes: Sequence[Tree], channels: int, style: Style) -> list[Tree]:
    """Return a chain that leads to the same shape, with the resolution changed in another way where there is one.

    Args:
        nodes: what `bridge` returned.
        channels: channels of the shape that it starts from.
        style: how the resolution is to change.
    """
    found: list[Tree] = []
    for node in nodes:
        found += _restyled(node, channels, style)
        channels = int(node.args.get("out_channels", node.args.get("out_features", channels)))
    return found


def _restyled(node: Tree, channels: int, style: Style) -> list[Tree]:
    kind, args = node.module.rpartition(".")[2], node.args
    wide = {"in_channels": channels, "out_channels": channels, "bias": False}
    match kind, style:
        case "AvgPool2d", "max":
            return [Tree("torch.nn.MaxPool2d", args)]
        case "AdaptiveAvgPool2d", "max":
            return [Tree("torch.nn.AdaptiveMaxPool2d", args)]
        case "AvgPool2d", "convolution":
            by = args["kernel_size"]
            return [Tree("torch.nn.Conv2d", {**wide, "kernel_size": by, "stride": by})]
        case "Upsample", "convolution":
            by = args["scale_factor"]
            return [Tree("torch.nn.ConvTranspose2d", {**wide, "kernel_size": by, "stride": by})]
        case "Conv2d", "average" | "max" if "stride" in args:
            pool = "torch.nn.AvgPool2d" if style == "average" else "torch.nn.MaxPool2d"
            rest = {name: value for name, value in args.items() if name != "stride"}
            return [Tree(pool, {"kernel_size": args["stride"]}), Tree("torch.nn.Conv2d", rest)]
    return [node]


def _steps(state: State, goal: State) -> Iterator[Step]:
    """Yield the steps from a state that may lead on to a goal."""
    yield from _other_channels(state, goal)
    if state[0] == "NCHW":
        yield from _other_sizes(state, goal)
    yield from _other_layouts(state)
    if state[0] == "NCHW" and goal[0] == "BC" and state[1][2:] == (1, 1):
        yield Tree("torch.nn.Flatten"), ("BC", state[1][:2]), 0


def _other_channels(state: State, goal: State) -> Iterator[Step]:
    layout, shape = state
    axis = CHANNEL_AXIS[layout]
    channels, wanted = shape[axis], goal[1][CHANNEL_AXIS[goal[0]]]
    if channels == wanted:
        return
    positions = math.prod(shape[a] for a in SIZE_AXES[layout])
    if layout != "NCHW":
        node = Tree("torch.nn.Linear", {"in_features": channels, "out_features": wanted})
        yield node, (layout, _with(shape, axis, wanted)), channels * wanted * positions
        return
    args = {"in_channels": channels, "out_channels": wanted, "kernel_size": 1, "bias": False}
    yield Tree("torch.nn.Conv2d", args), (layout, _with(shape, axis, wanted)), channels * wanted * positions
    target = _target_size(goal, shape[2:])
    factor = _factor(shape[2:], target) if target is not None else 0
    if target is not None and factor > 1:
        after: State = (layout, (shape[0], wanted, *target))
        yield Tree("torch.nn.Conv2d", {**args, "stride": factor}), after, channels * wanted * math.prod(target)


def _other_sizes(state: State, goal: State) -> Iterator[Step]:
    """Yield a pool or upsampling by a whole factor, and a pool to any size where there is no such factor."""
    layout, shape = state
    target = _target_size(goal, shape[2:])
    if target is None or target == shape[2:]:
        return
    after: State = (layout, (*shape[:2], *target))
    down, up = _factor(shape[2:], target), _factor(target, shape[2:])
    if down > 1:
        yield Tree("torch.nn.AvgPool2d", {"kernel_size": down}), after, 0
    elif up > 1:
        yield Tree("torch.nn.Upsample", {"scale_factor": up}), after, 0
    else:
        size = target[0] if target[0] == target[1] else {"$tuple": list(target)}
        yield Tree("torch.nn.AdaptiveAvgPool2d", {"output_size": size}), after, 0


def _target_size(goal: State, size: Shape) -> Shape | None:
    """Return the size that a map needs on its way to a goal; None where none leads there."""
    layout, shape = goal
    if layout == "BC":
        return (1, 1)
    if layout != "BNC":
        return tuple(shape[a] for a in SIZE_AXES[layout])
    if math.prod(size) == shape[1]:
        return size
    side = isqrt(shape[1])
    return (side, side) if side * side == shape[1] else None


def _factor(size: Shape, target: Shape) -> int:
    """Return the whole factor by which every size is larger than its target; 0 where there is none."""
    factors = {s // t if s % t == 0 else 0 for s, t in zip(size, target, strict=True)}
    return factors.pop() if len(factors) == 1 else 0


def _other_layouts(state: State) -> Iterator[Step]:
    layout, shape = state
    if layout == "NCHW":
        batch, channels, height, width = shape
        yield Tree("llmastool.blocks.ChannelsLast"), ("NHWC", (batch, height, width, channels)), 0
        yield Tree("llmastool.blocks.MapToTokens"), ("BNC", (batch, height * width, channels)), 0
    elif layout == "NHWC":
        batch, height, width, channels = shape
        yield Tree("llmastool.blocks.ChannelsFirst"), ("NCHW", (batch, channels, height, width)), 0
    elif layout == "BNC":
        side = isqrt(shape[1])
        if side * side == shape[1]:
            node = Tree("llmastool.blocks.TokensToMap", {"height": side, "width": side})
            yield node, ("NCHW", (shape[0], shape[2], side, side)), 0


def _with(shape: Shape, axis: int, value: int) -> Shape:
    return tuple(value if i == axis else n for i, n in enumerate(shape))


def sequence(nodes: list[Tree]) -> Tree:
    """Return one node that runs the given ones in order."""
    if len(nodes) == 1:
        return nodes[0]
    return Tree("torch.nn.Sequential", {}, tuple((str(i), node) for i, node in enumerate(nodes)))
