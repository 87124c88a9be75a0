"""Stand in front of the calls of modules: whoever does sees each, and may answer it without running the module."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

import torch
from torch import nn

Forward: TypeAlias = Callable[..., Any]
"""What calls a module for real: `nn.Module.__call__`."""


class Calls(Protocol):
    """Stands in front of the calls of some modules."""

    names: Mapping[nn.Module, str]
    """The modules."""

    def call(self, forward: Forward, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what a call gives."""


@contextmanager
def in_front(calls: Calls) -> Iterator[None]:
    """Have this thread's calls of some modules go through `calls` inside the `with` block.

    Of several blocks, one within another, the innermost counts.
    """
    stack = _FRONT.__dict__.setdefault("stack", [])
    with ready():
        stack.append(calls)
        try:
            yield
        finally:
            stack.pop()


@contextmanager
def ready() -> Iterator[None]:
    """Have modules ready to be stood in front of, so that each `in_front` inside the `with` block costs nothing.

    Without it, each of them changes the class of all modules and puts it back, and Python forgets what it knew of it.
    """
    _install(+1)
    try:
        yield
    finally:
        _install(-1)


def _install(change: int) -> None:
    """Put `_call` in front of every module of the process while anything asks for it."""
    global _blocks, _forward
    with _LOCK:
        _blocks += change
        if _blocks == change == 1:
            _forward = nn.Module.__call__
            nn.Module.__call__ = _call  # type: ignore[method-assign]
        elif not _blocks:
            nn.Module.__call__ = _forward  # type: ignore[method-assign]


def _call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    stack = _FRONT.__dict__.get("stack")
    if stack and self in stack[-1].names:
        return stack[-1].call(_forward, self, args, kwargs)
    return _forward(self, *args, **kwargs)


_LOCK, _FRONT = threading.Lock(), threading.local()
_blocks, _forward = 0, nn.Module.__call__


def only(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.Tensor | None:
    """Return the one tensor that a module is called with; None where it is called with anything else."""
    x = args[0] if len(args) == 1 and not kwargs else None
    return x if isinstance(x, torch.Tensor) and x.is_meta else None
