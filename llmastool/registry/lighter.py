"""Make a heavy network lighter before it is really run: what fits into a slot is seen on a small one as well."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from llmastool.canonical import Json
from llmastool.registry.contract import SIZE_AXES, sized
from llmastool.registry.infer import Point

HEAVY_PARAMETERS = 10_000_000
_HEAVY_FLOPS = 600_000_000
_HEAVY_OUTPUT = 4_000_000
"""From where on a network is made smaller before it is really run: parameters, multiply-adds of one input, numbers
that come out."""

_MOST_CHANGES = 12
"""Changes that are tried at most to make a heavy network lighter: one that helps saves its time many times over."""

Cost = tuple[int, int, int]
"""Parameters, multiply-adds of one input, numbers that come out."""


def lighter(point: Point, cost_of: Callable[[Point], Cost | None], defaults: Mapping[str, Json]) -> Point:
    """Return a point that costs less, the same where it is not heavy or nothing helps.

    Args:
        point: where the module works.
        cost_of: gives the cost at a point, None where the module does not work there.
        defaults: the constructor's defaults, as far as they are numbers or sequences of numbers.
    """
    cost, tried = cost_of(point), 0
    for change in (*_smaller_images(), *_fewer_layers(defaults)):
        if cost is None or not _heavy(cost) or tried == _MOST_CHANGES:
            break
        candidate = change(point)
        if candidate is None:
            continue
        tried += 1
        other = cost_of(candidate)
        if other is not None and all(a <= b for a, b in zip(other, cost, strict=True)):
            point, cost = candidate, other
    return point


def _smaller_images() -> Iterator[Callable[[Point], Point | None]]:
    for size in (64, 32):
        for with_arguments in (False, True):
            yield functools.partial(_with_images, size=size, with_arguments=with_arguments)


def _fewer_layers(defaults: Mapping[str, Json]) -> Iterator[Callable[[Point], Point | None]]:
    by_kind = sorted(defaults, key=lambda n: not re.search(r"depth|layers|blocks|repeats|num_", n))
    for name in by_kind:
        for divisor in (0, 4, 2):
            yield functools.partial(_with_less, name=name, default=defaults[name], divisor=divisor)


def _heavy(cost: Cost) -> bool:
    return cost[0] > HEAVY_PARAMETERS or cost[1] > _HEAVY_FLOPS or cost[2] > _HEAVY_OUTPUT


def _with_images(point: Point, size: int, *, with_arguments: bool) -> Point | None:
    axes = SIZE_AXES[point.layout]
    if not axes or size >= min(point.shape[a] for a in axes):
        return None
    before = point.shape[axes[0]]
    bound = {n: sized(v, size) for n, v in point.args.items() if v == sized(v, before)} if with_arguments else {}
    shape = tuple(size if i in axes else n for i, n in enumerate(point.shape))
    return Point({**point.args, **bound}, point.layout, shape, point.call)


def _with_less(point: Point, name: str, default: Json, divisor: int) -> Point | None:
    """Return a point with one argument divided, if it may say how deep or wide a network is; 0: as small as can be."""
    value = point.args.get(name, default)
    if isinstance(value, Mapping) and "$tuple" not in value:
        return None
    inner = value["$tuple"] if isinstance(value, Mapping) else value
    listed = inner if isinstance(inner, list) else [inner]
    numbers = [v for v in listed if isinstance(v, int) and not isinstance(v, bool)]
    if len(numbers) < len(listed) or max(numbers, default=0) <= 2:
        return None
    less = [max(1, v // divisor) if divisor else min(v, 1 if isinstance(inner, list) else 2) for v in numbers]
    changed: Json = less if isinstance(inner, list) else less[0]
    args = {**point.args, name: {"$tuple": changed} if isinstance(value, Mapping) else changed}
    return Point(args, point.layout, point.shape, point.call)


def plain(value: Any) -> Json:
    """Return a default as JSON where it is a number or a sequence of numbers, else None."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value):
        return list(value) if isinstance(value, list) else {"$tuple": list(value)}
    return None
