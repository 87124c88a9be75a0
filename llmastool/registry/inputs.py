"""Propose what a module's `forward` is called with: inputs that were seen, then ones that its parameters suggest.

As with constructors, the rules speak of words and shapes that the field uses, never of single classes.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch

from llmastool.canonical import Json
from llmastool.registry.call import INPUT, Call
from llmastool.registry.contract import CHANNEL_AXIS
from llmastool.trees.profile import Layout, Shape

BATCH = 2
CHANNELS = 32
"""Number of channels at the probe point, where nothing else is asked for."""
SIZE = 16
"""Height, width and number of tokens at the probe point, where nothing else is asked for."""
_FRAMES = 4
_LARGEST = 4096

_INTEGER = {"$input": "int64"}


@dataclass(frozen=True)
class Input:
    """One way to call a module."""

    shape: Shape
    """Shape of the main tensor."""
    call: Call
    layout: Layout | None = None
    """Layout of the main tensor; None where it has to be found out."""


def shapes(args: Mapping[str, Json], heard: Sequence[int], sizes: Sequence[int]) -> Iterator[tuple[Layout, Shape]]:
    """Yield shapes of a main tensor: maps, tokens, images, vectors, clips, sequences.

    Args:
        args: constructor arguments; their whole numbers may be channels.
        heard: further numbers that may be channels, as an error message named them.
        sizes: sizes of images that the arguments speak of.
    """
    named = [v for v in args.values() if isinstance(v, int) and not isinstance(v, bool) and 1 < v <= _LARGEST]
    channels = list(dict.fromkeys([*named[:3], CHANNELS, *heard, 3, 1]))
    for size in sizes:
        yield "NCHW", (BATCH, 3, size, size)
    for c in channels:
        yield "NCHW", (BATCH, c, SIZE, SIZE)
    for c in channels:
        yield "BNC", (BATCH, SIZE, c)
    for c in channels[:3]:  # windows and patches of 7
        yield "NCHW", (BATCH, c, 28, 28)
        yield "BNC", (BATCH, 49, c)
    for size in (64, 56, 224):
        yield "NCHW", (BATCH, 3, size, size)
    for c in channels:
        yield "BC", (BATCH, c)
        yield "NHWC", (BATCH, SIZE, SIZE, c)
    for c in channels:
        yield "NCDHW", (BATCH, c, _FRAMES, SIZE, SIZE)
        yield "NCL", (BATCH, c, SIZE)
    for size in (*sizes[:1], 64):
        yield "NCDHW", (BATCH, 3, _FRAMES, size, size)
        yield "NCDHW", (BATCH, 3, SIZE, size, size)


def size_words(args: Mapping[str, Json]) -> list[int]:
    """Return the sizes of images that arguments, defaults included, speak of by their names."""
    found = []
    for name, value in args.items():
        if re.search(r"(img|image|input|frame|spec).*(size|res|height|width|hw)|^resolution|input_resolution", name):
            found += [v for v in _numbers(value) if 8 <= v <= 512]
    return list(dict.fromkeys(found))[:2]


def _numbers(value: Json) -> list[int]:
    if isinstance(value, Mapping):
        value = value.get("$tuple", [])
    values = value if isinstance(value, list | tuple) else [value]
    return [v for v in values if isinstance(v, int) and not isinstance(v, bool)]


def guesses(signature: inspect.Signature, layout: Layout, shape: Shape) -> Iterator[Input]:
    """Yield calls for a main tensor of a shape: alone, then with what the other parameters of `forward` suggest."""
    parameters = list(signature.parameters.values())
    several = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    needed = [p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    keywords = [p for p in parameters if p.default is p.empty and p.kind is p.KEYWORD_ONLY]
    if not needed:
        if parameters or several:
            yield Input(shape, Call(), layout)
        return
    first, rest = needed[0], needed[1:]
    named = {p.name: next(iter(_others(p, layout))) for p in keywords}
    for main in _mains(first, layout):
        for others in itertools.islice(itertools.product(*(_others(p, layout) for p in rest)), 8):
            yield Input(shape, Call(args=(main, *others), kwargs=named), layout)


def _mains(parameter: inspect.Parameter, layout: Layout) -> Iterator[Json]:
    """Yield forms of the first parameter around the main tensor."""
    words = f"{parameter.name} {_annotation(parameter)}".lower()
    pyramid = [INPUT, *({"$tensor": {"shape": _halved(layout, k), "dtype": "float32"}} for k in (2, 4, 8))]
    if re.search(r"dict\b|mapping", words) and layout == "NCHW":
        yield {str(i): level for i, level in enumerate(pyramid[:3])}
    if re.search(r"list\b|sequence|tuple\b|features|inputs|feats|\bxs\b", words) and layout in ("NCHW", "BNC"):
        yield pyramid if layout == "NCHW" else [INPUT, INPUT]
        yield [INPUT, INPUT]
        yield [INPUT]
    if layout == "BC" and re.search(r"\bids?\b|tokens?|index|indices|text|caption|long", words):
        yield _INTEGER
    yield INPUT


def _halved(layout: Layout, factor: int) -> list[Json]:
    sizes = [{"$dim": [axis, str(Fraction(1, factor))]} for axis in (2, 3)]
    return [_dim(0), _dim(CHANNEL_AXIS[layout]), *sizes]


def _dim(axis: int, ratio: str = "1") -> Json:
    return {"$dim": [axis, ratio]}


_WHOLE = r"label|target|class|ids?$|token|index|indices|timestep|^t$|time"
_SIZES = r"size|shape|resolution|grid|^hw$|thw"


def _others(parameter: inspect.Parameter, layout: Layout) -> list[Json]:
    """Return values to try for a further parameter, most likely first."""
    name, annotation = parameter.name.lower(), _annotation(parameter).lower()
    axis = CHANNEL_AXIS.get(layout, 1)
    rank = {"NCHW": 4, "NHWC": 4, "BNC": 3, "BC": 2, "NCL": 3, "NCDHW": 5}[layout]
    alike = {"$tensor": {"shape": [_dim(i) for i in range(rank)], "dtype": "float32"}}
    vector = {"$tensor": {"shape": [_dim(0), _dim(axis)], "dtype": "float32"}}
    whole = {"$tensor": {"shape": [_dim(0)], "dtype": "int64"}}
    if name in ("h", "w", "height", "width", "d", "t") and layout in ("NCHW", "BNC"):
        return [_dim({"h": 2, "height": 2, "w": 3, "width": 3}.get(name, 2)) if layout == "NCHW" else 4, whole]
    if re.search(_SIZES, name) and "tensor" not in annotation:
        return [{"$tuple": [_dim(2), _dim(3)] if layout == "NCHW" else [4, 4]}, alike]
    if annotation == "bool":
        return [False, True]
    if annotation in ("int", "float"):
        return [1]
    if re.search(r"mask", name):
        mask = {"shape": [_dim(0), _dim(1)] if layout == "BNC" else [_dim(i) for i in range(rank)], "dtype": "bool"}
        return [None, {"$tensor": mask}]
    if re.search(_WHOLE, name):
        return [whole, alike, vector]
    return [alike, vector, None, whole]


def _annotation(parameter: inspect.Parameter) -> str:
    if parameter.annotation is parameter.empty:
        return ""
    kind = parameter.annotation
    return kind.__name__ if isinstance(kind, type) else str(kind)


def seen(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Json | None:
    """Return what a module was called with as JSON, tensors by shape and type; None where that cannot be written."""
    try:
        return {"args": [_write(a) for a in args], "kwargs": {k: _write(v) for k, v in kwargs.items()}}
    except TypeError:
        return None


def _write(value: Any) -> Json:
    if isinstance(value, torch.Tensor):
        return {"$tensor": {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple):
        return {"$tuple": [_write(v) for v in value]}
    if isinstance(value, list):
        return [_write(v) for v in value]
    if isinstance(value, dict) and all(isinstance(k, str) and not k.startswith("$") for k in value):
        return {k: _write(v) for k, v in value.items()}
    raise TypeError(f"{type(value).__name__} cannot be written as an input")


def related(call: Json) -> Iterator[Input]:
    """Yield calls that generalise one that was seen: the first floating tensor is the main one, others follow it.

    Where sizes agree only by chance, the second of the two calls keeps those of the other tensors as they were.
    """
    found = list(_seen_tensors(call))
    floating = [t for t in found if t["dtype"].startswith("float")] or found
    if not floating or not 1 <= len(floating[0]["shape"]) <= 5 or 0 in floating[0]["shape"]:
        return
    main = floating[0]
    shape = tuple(main["shape"])
    for follow in (True, False) if len(found) > 1 or _has_number(call) else (True,):
        used = [False]

        def place(value: Json, follow: bool = follow, used: list[bool] = used) -> Json:
            if isinstance(value, list):
                return [place(v) for v in value]
            if isinstance(value, int) and not isinstance(value, bool) and follow:
                return _followed(value, shape, sizes_only=True)
            if not isinstance(value, Mapping):
                return value
            if "$tensor" not in value:
                return {k: place(v) for k, v in value.items()}
            if value["$tensor"] is main and not used[0]:
                used[0] = True
                return {"$input": main["dtype"]}
            dims = value["$tensor"]["shape"]
            return {
                "$tensor": {**value["$tensor"], "shape": _follow_all(dims, shape) if follow else _batch(dims, shape)}
            }

        yield Input(shape, Call(args=tuple(place(call["args"])), kwargs=place(call["kwargs"])))


def _follow_all(dims: Sequence[int], shape: Shape) -> list[Json]:
    if len(dims) == len(shape):
        return [_at(d, i, shape) for i, d in enumerate(dims)]
    return [_at(d, 0, shape) if i == 0 else _followed(d, shape) for i, d in enumerate(dims)]


def _at(size: int, axis: int, shape: Shape) -> Json:
    """Return a size of another tensor as a fraction of the main tensor's at the same place, where that is simple."""
    ratio = Fraction(size, shape[axis])
    simple = ratio.numerator == 1 or ratio.denominator == 1
    return _dim(axis, str(ratio)) if simple and (axis > 1 or ratio == 1) else size


def _batch(dims: Sequence[int], shape: Shape) -> list[Json]:
    return [_dim(0) if i == 0 and d == shape[0] else d for i, d in enumerate(dims)]


def _followed(size: int, shape: Shape, sizes_only: bool = False) -> Json:
    axes = range(2 if sizes_only else 1, len(shape))
    return next((_dim(axis) for axis in axes if shape[axis] == size), size)


def _seen_tensors(value: Json) -> Iterator[Json]:
    if isinstance(value, Mapping):
        if "$tensor" in value:
            yield value["$tensor"]
            return
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _seen_tensors(inner)


def _has_number(value: Json) -> bool:
    if isinstance(value, Mapping):
        return "$tensor" not in value and any(_has_number(v) for v in value.values())
    if isinstance(value, list):
        return any(_has_number(v) for v in value)
    return isinstance(value, int) and not isinstance(value, bool)
