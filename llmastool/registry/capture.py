"""Record how modules are built and called while other code runs: real arguments instead of guessed ones."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Construction:
    """A constructor call that was seen."""

    args: Mapping[str, Any]
    """Arguments by parameter name; those of `**kwargs` under their own names."""
    complete: bool
    """Whether the call can be written with keywords alone (no `*args`)."""
    positional: tuple[Any, ...] = ()
    """All positional arguments, where it cannot: those in `args` come behind them, by keyword."""


Captured = dict[nn.Module, Construction]
"""Constructor calls by the module that they made."""


@contextmanager
def watching() -> Iterator[None]:
    """Have constructors ready to be recorded inside the `with` block, so that each `capture` in it costs nothing.

    Without it, each `capture` changes the constructors of all classes and puts them back: some milliseconds.
    Classes that are defined inside the block are watched too.
    """
    if "__init_subclass__" in vars(nn.Module):  # it is on already
        yield
        return
    originals: list[tuple[type[nn.Module], Any]] = []

    def watch(cls: type[nn.Module]) -> None:
        original = vars(cls).get("__init__")
        if type(original) is FunctionType and _RECORDS not in vars(original):
            originals.append((cls, original))
            cls.__init__ = _recording(original)  # type: ignore[method-assign]

    def defined(cls: type[nn.Module], **options: Any) -> None:
        super(nn.Module, cls).__init_subclass__(**options)
        watch(cls)

    for cls in (nn.Module, *_subclasses(nn.Module)):
        watch(cls)
    nn.Module.__init_subclass__ = classmethod(defined)  # type: ignore[assignment]
    try:
        yield
    finally:
        del nn.Module.__init_subclass__
        for cls, original in originals:
            cls.__init__ = original  # type: ignore[method-assign]


@contextmanager
def capture() -> Iterator[Captured]:
    """Record the constructor arguments of every module that is built inside the `with` block."""
    captured: Captured = {}
    with watching():
        _ACTIVE.append(captured)
        try:
            yield captured
        finally:
            _ACTIVE.pop()


def _subclasses(cls: type) -> Iterator[type]:
    seen: set[type] = set()
    stack: list[type] = [cls]
    while stack:
        subs: list[type] = stack.pop().__subclasses__()
        for sub in subs:
            if sub not in seen:
                seen.add(sub)
                stack.append(sub)
                yield sub


_ACTIVE: list[Captured] = []
"""What the blocks that are open have recorded, the outermost first."""

_RECORDER, _RECORDS = "_llmastool_recorder", "_llmastool_records"
"""Attributes of a constructor: what stands in its place while it is watched; and of that, that it does so."""


def _recording(original: Callable[..., None]) -> Callable[..., None]:
    """Return a constructor that notes its call and then is the original; made once, as there are very many."""
    known = vars(original).get(_RECORDER)
    if known is not None:
        return known

    @functools.wraps(original)
    def init(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        for captured in _ACTIVE:
            if self not in captured:  # the outermost constructor is the one that was called
                captured[self] = _construction(original, self, args, kwargs)
        original(self, *args, **kwargs)

    vars(init)[_RECORDS] = True
    vars(original)[_RECORDER] = init
    return init


_signature = functools.lru_cache(maxsize=4096)(inspect.signature)
"""The signature of a function; constructors are called again and again."""


def _construction(
    original: Callable[..., None], self: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Construction:
    signature = _signature(original)
    try:
        bound = signature.bind(self, *args, **kwargs)
    except TypeError:
        return Construction({}, complete=False)  # the constructor is about to refuse
    given = dict(list(bound.arguments.items())[1:])
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            given.update(given.pop(name, {}))
        elif parameter.kind is parameter.VAR_POSITIONAL and given.pop(name, ()):
            by_name = {k: _copied(v) for k, v in bound.kwargs.items()}
            return Construction(by_name, complete=False, positional=tuple(map(_copied, bound.args[1:])))
    return Construction({k: _copied(v) for k, v in given.items()}, complete=True)


def _copied(value: Any) -> Any:
    """Return an argument that the constructor cannot change any more: lists and mappings are copied, at any depth."""
    if type(value) is list:
        return [_copied(v) for v in value]
    if type(value) is tuple:
        return tuple(_copied(v) for v in value)
    if type(value) is dict:
        return {k: _copied(v) for k, v in value.items()}
    return value


Calls = dict[nn.Module, list[tuple[tuple[Any, ...], dict[str, Any]]]]
"""Arguments of `forward`, by the module that was called, in the order of the calls."""


@contextmanager
def calls(most: int = 2) -> Iterator[Calls]:
    """Record what every module is called with inside the `with` block, up to `most` calls each."""
    seen: Calls = {}
    original = nn.Module.__call__

    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        known = seen.setdefault(self, [])
        if len(known) < most:
            known.append((args, kwargs))
        return original(self, *args, **kwargs)

    nn.Module.__call__ = call  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        nn.Module.__call__ = original  # type: ignore[method-assign]
