"""Build without drawing weights: on the meta device there are none, but drawing them takes most of a build's time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn import init


def _left(tensor: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
    return tensor


_FILLS = [name for name in vars(init) if name.endswith("_") and not name.startswith("_")]


@contextmanager
def unset_weights() -> Iterator[None]:
    """Let the functions of `torch.nn.init` do nothing inside the block. For one thread at a time."""
    before = {name: getattr(init, name) for name in _FILLS}
    for name in _FILLS:
        setattr(init, name, _left)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(init, name, function)
