"""What a contract claims: shapes drawn from it at random, so that it can be tested on ones it was not inferred from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from llmastool.registry.contract import CHANNEL_AXIS, SIZE_AXES, Contract, scaled
from llmastool.trees.profile import Shape


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One input shape that a contract says is taken, and the output shape that it says comes out."""

    batch: int
    channels: int
    sizes: tuple[int, ...]
    out_channels: int | None
    """Output channels that are asked for; None where they cannot be chosen."""
    stride: int
    in_shape: Shape
    out_shape: Shape


PARTS = ("batch", "channels", "sizes", "out_channels", "stride")
"""What a claim can vary."""


def at_probe(contract: Contract) -> Claim:
    """Return the claim that a contract makes at its probe point."""
    wanted = contract.out_shape[CHANNEL_AXIS[contract.layout_out]] if contract.out_args else None
    return Claim(
        batch=contract.in_shape[0],
        channels=contract.in_shape[CHANNEL_AXIS[contract.layout_in]],
        sizes=tuple(contract.in_shape[a] for a in SIZE_AXES[contract.layout_in]),
        out_channels=wanted,
        stride=1,
        in_shape=contract.in_shape,
        out_shape=contract.out_shape,
    )


def claims(contract: Contract, count: int, seed: int) -> Iterator[Claim]:
    """Yield up to `count` different claims of a contract, none of them at its probe point."""
    rng = random.Random(seed)
    start = at_probe(contract)
    seen = {start}
    for _ in range(8 * count):
        claim = complete(contract, _drawn(contract, start, rng))
        if claim is not None and claim not in seen:
            seen.add(claim)
            yield claim
            if len(seen) > count:
                return


def complete(contract: Contract, claim: Claim) -> Claim | None:
    """Return a claim with its shapes worked out from its other fields; None where they are not whole numbers."""
    in_shape = list(contract.in_shape)
    in_shape[0] = claim.batch
    in_shape[CHANNEL_AXIS[contract.layout_in]] = claim.channels
    for axis, size in zip(SIZE_AXES[contract.layout_in], claim.sizes, strict=True):
        in_shape[axis] = size
    out_shape = _out_shape(contract, claim)
    return replace(claim, in_shape=tuple(in_shape), out_shape=out_shape) if out_shape is not None else None


def _out_shape(contract: Contract, claim: Claim) -> Shape | None:
    out = list(contract.out_shape)
    if out:
        first = Fraction(out[0] * claim.batch, contract.in_shape[0])
        if first.denominator != 1:
            return None
        out[0] = int(first)
    if contract.layout_out not in CHANNEL_AXIS:
        return tuple(out)
    axis = CHANNEL_AXIS[contract.layout_out]
    if claim.out_channels is not None:
        out[axis] = claim.out_channels
    elif contract.out_ratio is not None:
        given = scaled(contract.out_ratio, claim.channels)
        if given is None:
            return None
        out[axis] = given
    if contract.size_ratio is not None:
        for at, size in zip(SIZE_AXES[contract.layout_out], claim.sizes, strict=True):
            after = (Fraction(contract.size_ratio) * size + contract.size_offset) / claim.stride
            if after.denominator != 1 or after < 1:
                return None
            out[at] = int(after)
    return tuple(out)


def _drawn(contract: Contract, start: Claim, rng: random.Random) -> Claim:
    changed: dict[str, object] = {}
    if contract.any_batch:
        changed["batch"] = rng.choice([b for b in (1, 2, 3, 4, 5) if b > 1 or contract.batch_one])
    if contract.in_args or contract.any_channels:
        changed["channels"] = _near(start.channels, contract.divisor, contract.min_channels, rng)
    if contract.any_size and start.sizes:
        count = 1 if contract.square or contract.size_args else len(start.sizes)
        sizes = [_near(s, contract.size_divisor, contract.min_size, rng) for s in start.sizes[:count]]
        changed["sizes"] = tuple(sizes if count > 1 else sizes * len(start.sizes))
    if start.out_channels is not None:
        changed["out_channels"] = _near(start.out_channels, contract.out_divisor, 1, rng)
    if contract.stride_arg is not None:
        changed["stride"] = rng.choice([s for s in (1, 2, 4) if s <= contract.max_stride])
    return replace(start, **changed)  # type: ignore[arg-type]


def _near(value: int, step: int, least: int, rng: random.Random) -> int:
    """Draw a number that differs from `value` by a multiple of `step`, at most twice as large or so."""
    least = max(least, 1)
    down = (value - least) // step if value > least else 0
    up = max(2, value // step)
    return value + step * rng.randint(-min(down, up), up)
