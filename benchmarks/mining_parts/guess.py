"""The simplest guess at how a class is built and called: a value for each required argument, by its name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from benchmarks.mining_parts.forked import Tell

PROBES = ((2, 32, 16, 16), (2, 16, 32), (2, 3, 32, 32), (2, 3, 224, 224))
"""Shapes of the inputs that are tried, in order."""

_BY_NAME: tuple[tuple[str, Any], ...] = (
    (r"head", 4),
    (r"kernel|^k$|^ks$", 3),
    (r"stride|dilation|group|expan|ratio|mult|padding|^s$|^d$|cardinality|reduction", 1),
    (r"depth|layer|block_num|num_blocks|repeat|^n$|iters|stage", 2),
    (r"class", 10),
    (r"patch_size", 4),
    (r"image|img|resolution|input_size", 32),
    (r"feat_size|window|^size$|seq_len|max_len|frames", 16),
    (r"drop|prob|^p$|eps|momentum|alpha|beta|scale", 0.1),
    (r"act", nn.ReLU),
    (r"norm", nn.LayerNorm),
    (r"bias|use_|with_|^is_|flag|causal", False),
    (
        r"dim|model|chan|chs|feature|plane|width|hidden|embed|inp|oup|in_|out_|^in|^out|size|ch$|^c\d?$|num|^nf$|mid|inner",
        32,
    ),
)

_BY_TYPE: dict[Any, Any] = {int: 32, "int": 32, float: 0.1, "float": 0.1, bool: False, "bool": False}


def guess_arguments(cls: type) -> dict[str, Any]:
    """Return a value for each required parameter of a constructor.

    Raises:
        LookupError: a parameter has no generic value.
    """
    found = {}
    for parameter in list(inspect.signature(cls).parameters.values()):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.default is inspect.Parameter.empty:
            found[parameter.name] = _value(parameter)
    return found


def _value(parameter: inspect.Parameter) -> Any:
    for pattern, value in _BY_NAME:
        if re.search(pattern, parameter.name.lower()):
            return value
    if isinstance(parameter.annotation, type | str) and parameter.annotation in _BY_TYPE:
        return _BY_TYPE[parameter.annotation]
    raise LookupError(f"no generic value for {parameter.name!r}")


def try_class(cls: type[nn.Module], tell: Tell) -> None:
    """Build a class and run it forward and backward, and tell how far it comes."""
    try:
        torch.manual_seed(0)
        net = cls(**guess_arguments(cls))
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything
        tell({"fell": "build", "message": f"{type(error).__name__}: {error}"[:300]})
        return
    tell({"passed": "built"})
    ran = False
    message = ""
    for shape in PROBES:
        try:
            x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
            out = list(tensors(net(x + 0)))  # what works in place is not to meet a leaf
            if not out:
                raise TypeError("no floating-point tensor came out")
            if not ran:
                tell({"passed": "forward"})
            ran = True
            sum((t.sum() for t in out if t.requires_grad), torch.zeros(())).backward()
            tell({"passed": "backward"})
            return
        except Exception as error:  # noqa: BLE001 - foreign code may raise anything; the next probe is tried
            message = message or f"{type(error).__name__}: {error}"[:300]
    tell({"fell": "backward" if ran else "forward", "message": message})


def tensors(value: Any, depth: int = 0) -> Iterator[torch.Tensor]:
    """Yield the floating-point tensors in what a module returned."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point():
            yield value
    elif depth < 4 and isinstance(value, dict):
        for inner in value.values():
            yield from tensors(inner, depth + 1)
    elif depth < 4 and isinstance(value, tuple | list):
        for inner in value:
            yield from tensors(inner, depth + 1)
    elif depth < 4 and hasattr(value, "__dict__"):
        yield from tensors(vars(value), depth + 1)
