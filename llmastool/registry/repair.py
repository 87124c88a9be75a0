"""Mend arguments that a constructor refused: read the error, find the arguments that it is about, try others.

The message says what kind of value was expected; the lines of source in the traceback say which arguments are meant.
"""

from __future__ import annotations

import inspect
import linecache
import re
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from llmastool.canonical import Json
from llmastool.registry.arguments import IDENTITY, guess, is_required
from llmastool.registry.loading import PREFIX

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_LENGTHS = (4, 3, 2, 1, 5, 6)
_COUNTS = (2, 4, 8, 16, 32, 64, 128, 256, 3, 1)
"""One comes last: with a single channel much works that works with no other number."""
_CLASSES = tuple({"$ref": f"torch.nn.{c}"} for c in ("ReLU", "BatchNorm2d", "LayerNorm", "Conv2d", "Identity"))


def repairs(
    args: Mapping[str, Json], error: BaseException, signature: inspect.Signature, source: str
) -> Iterator[dict[str, Json]]:
    """Yield changed arguments, those that the error speaks for first.

    Args:
        args: the arguments that were refused.
        error: what the constructor raised.
        signature: the constructor's.
        source: source text of the class, in which the words are looked for that an argument is compared with.
    """
    message = str(error)
    for name in _suspects(args, error, signature):
        parameter = signature.parameters[name]
        current = args.get(name, None if parameter.default is parameter.empty else parameter.default)
        for value in _others(parameter, current, message, source):
            if value != args.get(name, parameter.default):
                yield {**args, name: value}


def _suspects(args: Mapping[str, Json], error: BaseException, signature: inspect.Signature) -> list[str]:
    """Return the parameters that an error may be about: in its message, then in the lines it came through.

    Where it is about None, those that are None come before the rest.
    """
    names = [p.name for p in signature.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    said = [w for w in _IDENTIFIER.findall(str(error)) if w in names]
    read = [w for line in reversed(_lines(error.__traceback__)) for w in _IDENTIFIER.findall(line) if w in names]
    required = [n for n in names if is_required(signature.parameters[n])]
    nothing = [n for n in names if args.get(n, signature.parameters[n].default) is None]
    return list(dict.fromkeys([*said, *read, *(nothing if "NoneType" in str(error) else ()), *required]))[:6]


def _lines(trace: TracebackType | None) -> list[str]:
    """Return the lines of mined source that a traceback goes through, outermost first."""
    found = []
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if PREFIX in file:
            found.append(linecache.getline(file, trace.tb_lineno))
        trace = trace.tb_next
    return found


def _others(parameter: inspect.Parameter, current: Any, message: str, source: str) -> Iterator[Json]:
    """Yield values to try instead of one that was refused."""
    lowered = message.lower()
    attribute = re.search(r"has no attribute '(\w+)'", message)
    if attribute:
        yield from _with_attribute(current, attribute.group(1))
    if re.search(
        r"not iterable|not subscriptable|no len\(\)|unpack|index out of range|zip\(|length|list|tuple", lowered
    ):
        wanted = [int(n) for n in re.findall(r"expected (?:at least )?(\d+)", lowered)]
        for length in (*wanted, *_LENGTHS):
            yield [_element(current, parameter)] * length
    if current is None:
        yield guess(parameter, parameter.annotation)
    if re.search(r"not callable|nonetype|is not a module subclass|must be called with", lowered):
        yield from _CLASSES
        yield IDENTITY
    yield from _words(parameter.name, source)
    if isinstance(current, list) and current:
        for length in _LENGTHS:
            yield [current[0]] * length
    if isinstance(current, bool):
        yield not current
    elif isinstance(current, int | float) or current is None or is_required(parameter):
        yield from _COUNTS
    if isinstance(current, tuple):
        yield {"$tuple": [current[0]] * 2} if current else {"$tuple": [1, 1]}
    yield {"$tuple": [current, current]} if isinstance(current, int) else None


def _with_attribute(current: Any, name: str) -> Iterator[Json]:
    """Yield settings that have an attribute, besides those that were added before."""
    parameter = inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    known: dict[str, Json] = {}
    if isinstance(current, Mapping) and "$call" in current:
        known = current["$call"]["kwargs"]
    added = {**known, name: guess(parameter, parameter.annotation)}
    yield {"$call": {"func": {"$ref": "types.SimpleNamespace"}, "args": [], "kwargs": added}}
    yield IDENTITY
    yield "relu"


def _element(current: Any, parameter: inspect.Parameter) -> Json:
    if isinstance(current, list | tuple) and current:
        first: Json = current[0]
        return first
    return current if isinstance(current, int | float | str | Mapping) else guess(parameter, parameter.annotation)


def _words(name: str, source: str) -> list[str]:
    """Return the words that the source compares an argument with, or looks it up among."""
    found: list[str] = []
    for match in re.finditer(rf"\b{re.escape(name)}\b\s*(?:==|!=|in|not in)\s*([^:\n]+)", source):
        found += re.findall(r"['\"](\w[\w.+-]*)['\"]", match.group(1))
    for match in re.finditer(rf"\{{([^{{}}]*)\}}\s*\[\s*{re.escape(name)}\b", source):
        found += re.findall(r"['\"](\w[\w.+-]*)['\"]\s*:", match.group(1))
    return list(dict.fromkeys(found))[:8]


def lengths(values: Sequence[Json]) -> Iterator[list[Json]]:
    """Yield a list cut or stretched to the lengths that the field's networks have."""
    for length in _LENGTHS:
        if values and length != len(values):
            yield [values[min(i, len(values) - 1)] for i in range(length)]
