"""Shapes that a contract claims, drawn at random away from its probe point: the judge's own reading of what it says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction

from llmastool.canonical import Json
from llmastool.registry.contract import CHANNEL_AXIS, SIZE_AXES, Contract, solve
from llmastool.trees.profile import Shape


def unseen(contract: Contract, count: int, rng: random.Random) -> Iterator[tuple[Shape, Shape, dict[str, Json]]]:
    """Yield up to `count` claims: input shape, output shape, and the arguments that `solve` gives for them."""
    seen = {(contract.in_shape, contract.out_shape)}
    for _ in range(20 * count):
        drawn = _draw(contract, rng)
        if drawn is None or drawn in seen:
            continue
        seen.add(drawn)
        args = solve(contract, *drawn)
        if args is not None:
            yield *drawn, args
            if len(seen) > count:
                return


def _draw(contract: Contract, rng: random.Random) -> tuple[Shape, Shape] | None:
    """Return input and output of a random point that may be claimed, None where the output would not be whole."""
    given, out = list(contract.in_shape), list(contract.out_shape)
    if rng.random() < 0.5:
        given[0] = rng.choice((1, 2, 3, 4, 6))
    if rng.random() < 0.6:
        axis = CHANNEL_AXIS[contract.layout_in]
        given[axis] = _step(given[axis], contract.divisor, contract.min_channels, rng)
    axes = SIZE_AXES[contract.layout_in]
    if axes and rng.random() < 0.6:
        sizes = [_step(given[a], contract.size_divisor, contract.min_size, rng) for a in axes]
        if contract.square or contract.size_args or rng.random() < 0.3:
            sizes = [sizes[0] - given[axes[0]] + given[a] for a in axes]
        for a, size in zip(axes, sizes, strict=True):
            given[a] = size
    if out and not _scale(out, 0, Fraction(out[0] * given[0], contract.in_shape[0])):
        return None
    if contract.layout_out in CHANNEL_AXIS and not _expect(contract, given, out, rng):
        return None
    return tuple(given), tuple(out)


def _expect(contract: Contract, given: list[int], out: list[int], rng: random.Random) -> bool:
    """Write the channels and sizes that are to be expected into an output's shape."""
    axis = CHANNEL_AXIS[contract.layout_out]
    if contract.out_args:
        if rng.random() < 0.6:
            out[axis] = _step(out[axis], contract.out_divisor, 1, rng)
    elif contract.out_ratio is not None:
        channels = given[CHANNEL_AXIS[contract.layout_in]]
        if not _scale(out, axis, Fraction(contract.out_ratio) * channels):
            return False
    if contract.size_ratio is None:
        return True
    stride = rng.randint(1, contract.max_stride) if contract.stride_arg is not None else 1
    pairs = zip(SIZE_AXES[contract.layout_in], SIZE_AXES[contract.layout_out], strict=True)
    return all(
        _scale(out, there, (Fraction(contract.size_ratio) * given[here] + contract.size_offset) / stride)
        for here, there in pairs
    )


def _scale(shape: list[int], axis: int, value: Fraction) -> bool:
    if value.denominator != 1 or value < 1:
        return False
    shape[axis] = int(value)
    return True


def _step(value: int, step: int, least: int, rng: random.Random) -> int:
    """Draw a number that is some steps away, between the least that is allowed and three times as much."""
    down = max(0, (value - max(least, 1)) // step)
    up = max(3, 2 * value // step)
    return value + step * rng.randint(-down, up)
