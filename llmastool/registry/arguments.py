"""Propose constructor arguments: from call sites in the source, defaults, annotations and names, in that order.

The rules speak of words that the field uses for arguments (`channels`, `heads`, `stride`), never of single classes.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from llmastool.canonical import Json
from llmastool.mining.bundle import CallSite

CHANNELS = 32
"""Number of channels at the probe point."""

SIZE = 16
"""Height and width at the probe point."""

_CHANNEL_WORDS = "channels|channel|planes|chans|chs|dim|dims|features|width|filters|maps|inplanes|hidden|size"
_BY_NAME: tuple[tuple[str, Json], ...] = (
    (r"kernel", 3),
    (r"stride|dilation|groups", 1),
    (r"padding|pad", 1),
    (r"head_dim|dim_head", 8),
    (r"heads?$|heads_", 4),
    (r"num_classes|classes", 10),
    (r"resolution|image_size|img_size|input_size|shape|spatial", SIZE),
    (r"patch|window", 4),
    (r"reduction|expan|ratio|scale_factor|upscale|downscale|factor|mult", 2),
    (r"drop|prob|rate|eps|momentum|alpha", 0.1),
    (rf"(^|_)({_CHANNEL_WORDS})($|_|\d)|^(in|out|d|c|n|dim|ch)(_|\d|$)", CHANNELS),
    (r"layers|depth|blocks|repeats|num_", 2),
    (r"norm", {"$ref": "torch.nn.BatchNorm2d"}),
    (r"act", {"$ref": "torch.nn.ReLU"}),
)
"""What a required argument is tried with, by the first pattern that its name matches."""


@dataclass(frozen=True)
class Proposal:
    """Arguments to try."""

    args: dict[str, Json]
    origin: str
    """`call site`, `names` or `defaults`."""


def proposals(
    signature: inspect.Signature, calls: Sequence[CallSite], name: Callable[[Any], str | None]
) -> Iterator[Proposal]:
    """Yield arguments to try for a constructor, most credible first, none twice.

    Args:
        signature: the constructor's, `self` left out.
        calls: its call sites in the source.
        name: gives the reference of a class that an annotation names.
    """
    seen: list[dict[str, Json]] = []
    for proposal in _all(signature, calls, name):
        if proposal.args not in seen:
            seen.append(proposal.args)
            yield proposal


def _all(
    signature: inspect.Signature, calls: Sequence[CallSite], name: Callable[[Any], str | None]
) -> Iterator[Proposal]:
    required = [p for p in signature.parameters.values() if _required(p)]
    guessed = {p.name: guess(p, name) for p in required}
    known = {k: v for k, v in guessed.items() if v is not None}
    if not required:
        yield Proposal({}, "defaults")
    elif len(known) == len(required):
        yield Proposal(guessed, "names")
    for call in calls:
        given = _bind(signature, call)
        if given is not None and all(p.name in known or p.name in given for p in required):
            yield Proposal({**known, **given}, "call site")
    if len(known) < len(required):
        return
    for length in (4, 3):
        yield Proposal({k: v[:1] * length if isinstance(v, list) else v for k, v in known.items()}, "names")
    for channels in (64, 3, 1):
        yield Proposal({k: channels if v == CHANNELS else v for k, v in known.items()}, "names")
    for wide, value in known.items():
        if value == CHANNELS:
            yield Proposal({**known, wide: 4 * CHANNELS}, "names")


def _required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_POSITIONAL,
        parameter.VAR_KEYWORD,
    )


def guess(parameter: inspect.Parameter, name: Callable[[Any], str | None]) -> Json | None:
    """Return a value for a parameter, by its annotation and name; None where nothing is known."""
    for cls in _classes(parameter.annotation):
        ref = name(cls)
        if ref is not None:
            return {"$ref": ref}
    if parameter.annotation is nn.Module:
        return {"$tree": {"module": "torch.nn.Identity"}}
    annotation = parameter.annotation if isinstance(parameter.annotation, str) else _label(parameter.annotation)
    if annotation == "bool":
        return False
    if annotation == "str":
        return None
    value = next((v for pattern, v in _BY_NAME if re.search(pattern, parameter.name.lower())), None)
    if annotation == "int" and not isinstance(value, int):
        return CHANNELS
    if annotation == "float" and not isinstance(value, float):
        return 0.1
    if re.match(r"(typing\.)?(list|sequence|tuple|iterable)", annotation.lower()) and isinstance(value, int):
        return [value, value]
    return value


def _classes(annotation: Any) -> Iterator[type]:
    """Yield the classes in an annotation such as `type[Union[A, B]]`."""
    if typing.get_origin(annotation) is type:
        for inner in typing.get_args(annotation):
            yield from (c for c in (typing.get_args(inner) or (inner,)) if isinstance(c, type))


def _label(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _bind(signature: inspect.Signature, call: CallSite) -> dict[str, Json] | None:
    """Return the literal arguments of a call by name; None when the call does not fit the constructor."""
    names = [p.name for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    unknown = [k for k in call.kwargs if k not in signature.parameters]
    if len(call.args) > len(names) or (unknown and not open_ended):
        return None
    given = {**dict(zip(names, call.args, strict=False)), **call.kwargs}
    return {name: value["value"] for name, value in given.items() if "value" in value}
