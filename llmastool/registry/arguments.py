"""Propose constructor arguments: calls that were seen, call sites in the source, defaults, annotations and names.

They are tried in that order. The rules speak of words that the field uses for arguments (`channels`, `heads`,
`stride`), never of single classes.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from llmastool.canonical import Json, dumps
from llmastool.mining.bundle import CallSite
from llmastool.registry.inputs import CHANNELS, SIZE
from llmastool.registry.seen import Sighting
from llmastool.registry.values import plain_name

IDENTITY: Json = {"$tree": {"module": "torch.nn.Identity"}}

_CHANNEL_WORDS = "channels|channel|planes|chans|chs|dim|dims|features|width|filters|maps|inplanes|hidden|size"
_CHANNELS_IN_NAME = rf"(^|_)({_CHANNEL_WORDS})($|_|\d)|^(in|out|d|c|n|dim|ch|inp|oup)(_|\d|$)"
_FEW, _COLOURS = 8, 3
"""Channels below the first are few, but for those of an image."""

_BY_NAME: tuple[tuple[str, Json], ...] = (
    (r"kernel", 3),
    (r"stride|dilation|groups", 1),
    (r"padding|pad", 1),
    (r"head_dim|dim_head", 8),
    (r"heads?$|heads_|nhead", 4),
    (r"num_classes|classes", 10),
    (r"resolution|image_size|img_size|input_size|feat_size|shape|spatial", SIZE),
    (r"patch|window", 4),
    (r"reduction|expan|ratio|scale_factor|upscale|downscale|factor|mult|^scale$|^rank$|^order$", 2),
    (r"drop|prob|rate|eps|momentum|alpha|beta|gamma|sigma|temperature|lambda|std", 0.1),
    (_CHANNELS_IN_NAME, CHANNELS),
    (r"layers|depth|blocks|repeats|num_", 2),
    (r"norm", {"$ref": "torch.nn.BatchNorm2d"}),
    (r"act|nonlinear", {"$ref": "torch.nn.ReLU"}),
    (
        r"^(fn|net|module|layer|model|backbone|encoder|block|body|trunk|inner|func|transform|head|stem|branch)\w*$",
        IDENTITY,
    ),
)
"""What a required argument is tried with, by the first pattern that its name matches."""

_DEPTH = 3
"""How deep settings and modules among the arguments are guessed."""


def counts_channels(name: str) -> bool:
    """Return whether an argument's name says that it is a number of channels, as `num_features` does."""
    return re.search(_CHANNELS_IN_NAME, name.lower()) is not None and "size" not in name.lower()


@dataclass(frozen=True)
class Proposal:
    """Arguments to try."""

    args: dict[str, Json]
    origin: str
    """`call site`, `seen in ...`, `defaults`, `names` or `solved`."""


def proposals(
    signature: inspect.Signature, calls: Sequence[CallSite], sightings: Sequence[Sighting], hints: Mapping[str, Any]
) -> Iterator[Proposal]:
    """Yield arguments to try for a constructor, most credible first, none twice.

    Args:
        signature: the constructor's, `self` left out.
        calls: its call sites in the source.
        sightings: calls of it that were seen.
        hints: its annotations, by parameter, as far as they could be resolved.
    """
    seen: set[str] = set()
    for proposal in _all(signature, calls, sightings, hints):
        key = dumps(proposal.args)
        if key not in seen:
            seen.add(key)
            yield proposal


def _all(
    signature: inspect.Signature, calls: Sequence[CallSite], sightings: Sequence[Sighting], hints: Mapping[str, Any]
) -> Iterator[Proposal]:
    required = [p for p in signature.parameters.values() if is_required(p)]
    known = {p.name: guess(p, hints.get(p.name, p.annotation)) for p in required}
    literal: list[Proposal] = []
    partly: list[Proposal] = []
    for call in calls:
        given = _bind(signature, call)
        if given is not None:
            missing = [p for p in required if p.name not in given]
            (partly if missing else literal).append(
                Proposal({**{p.name: known[p.name] for p in missing}, **given}, "call site")
            )
    telling = [p for p in literal if not _narrow(p.args)]
    yield from telling[:6]
    for sighting in sorted(sightings, key=lambda s: _weight(s.args))[:6]:
        yield Proposal(sighting.args, sighting.origin)
    yield Proposal({} if not required else known, "names" if required else "defaults")
    yield from [p for p in literal if _narrow(p.args)][:6]
    yield from partly[:6]
    yield from _variations(known)


def _narrow(args: Mapping[str, Json]) -> bool:
    """Return whether a channel count among arguments is so small that little can be learned from it."""
    counts = [v for k, v in args.items() if isinstance(v, int) and re.search(_CHANNELS_IN_NAME, k.lower())]
    return any(not isinstance(v, bool) and 0 < v < _FEW and v != _COLOURS for v in counts)


def _variations(known: Mapping[str, Json]) -> Iterator[Proposal]:
    for length in (4, 3):
        yield Proposal({k: v[:1] * length if isinstance(v, list) else v for k, v in known.items()}, "names")
    for channels in (64, 3):
        yield Proposal({k: channels if v == CHANNELS else v for k, v in known.items()}, "names")
    for wide, value in known.items():
        if value == CHANNELS:
            yield Proposal({**known, wide: 4 * CHANNELS}, "names")
    yield Proposal({k: 1 if v == CHANNELS else v for k, v in known.items()}, "names")


def _weight(value: Json) -> int:
    """Return the sum of all whole numbers in an argument: of two calls that were seen, the smaller is tried first."""
    if isinstance(value, Mapping):
        return sum(_weight(v) for v in value.values())
    if isinstance(value, list):
        return sum(_weight(v) for v in value)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def is_required(parameter: inspect.Parameter) -> bool:
    """Return whether a constructor cannot be called without a parameter."""
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_POSITIONAL,
        parameter.VAR_KEYWORD,
    )


def guess(parameter: inspect.Parameter, hint: Any, depth: int = 0) -> Json:
    """Return a value for a parameter, by its annotation and its name."""
    by_class = _of_annotation(parameter, hint, depth)
    if by_class is not None:
        return by_class
    annotation = _label(hint)
    value = next((v for pattern, v in _BY_NAME if re.search(pattern, parameter.name.lower())), None)
    if annotation == "bool":
        return False
    if annotation == "int" and not isinstance(value, int):
        return CHANNELS
    if annotation == "float" and not isinstance(value, float):
        return 0.1
    if re.search(r"callable|type\[", annotation.lower()) and not isinstance(value, Mapping):
        return {"$ref": "torch.nn.ReLU"}
    if re.match(r"(typing\.)?(list|sequence|tuple|iterable)", annotation.lower()) and not isinstance(value, Mapping):
        return [value if value is not None else CHANNELS] * 2
    if annotation == "dict" or annotation.lower().startswith(("dict[", "typing.dict")):
        return {}
    return CHANNELS if value is None else value


def _of_annotation(parameter: inspect.Parameter, hint: Any, depth: int) -> Json | None:
    """Return a value for an annotation that names a class of the source, None where it does not."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        found = (_of_annotation(parameter, part, depth) for part in inner)
        return next((value for value in found if value is not None), None)
    if origin is type:
        classes = [c for part in inner for c in (typing.get_args(part) or (part,)) if isinstance(c, type)]
        return next(({"$ref": plain_name(c)} for c in classes if c is not nn.Module and plain_name(c)), None)
    if origin in (list, tuple, collections.abc.Sequence, collections.abc.Iterable) and inner:
        part = _of_annotation(parameter, inner[0], depth)
        return [part, part] if part is not None else None
    if hint is nn.Module:
        return IDENTITY
    if isinstance(hint, type) and depth < _DEPTH:
        return _instance(hint, depth)
    return None


def _instance(cls: type, depth: int) -> Json | None:
    """Return an object of a mined class, its own arguments guessed; None for the classes of Python and torch."""
    name = plain_name(cls)
    if name is None or cls.__module__ in ("builtins", "typing", "collections.abc") or name.startswith("torch."):
        return None
    try:
        init = getattr(cls, "__init__")  # noqa: B009 - of the class itself, whatever its instances have
        parameters = list(inspect.signature(init).parameters.values())[1:]
        hints = typing.get_type_hints(init)
    except (TypeError, ValueError, NameError, AttributeError):
        return None
    args = {p.name: guess(p, hints.get(p.name, p.annotation), depth + 1) for p in parameters if is_required(p)}
    if issubclass(cls, nn.Module):
        return {"$tree": {"module": name, "args": args}}
    if dataclasses.is_dataclass(cls) or inspect.isfunction(cls.__init__):
        return {"$call": {"func": {"$ref": name}, "args": [], "kwargs": args}}
    return None


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
