"""Constructor arguments as JSON and back: classes, functions, tuples, partials and whole modules included.

See `llmastool.trees.tree` for the encoding. A reference is a dotted name of torch or builtins, the id of a bundle, or
`<bundle id>:<dotted name>` for anything else in a bundle's own namespace.
"""

from __future__ import annotations

import functools
import importlib
import types
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from llmastool.canonical import Json
from llmastool.errors import RegistryError
from llmastool.mining.bundle import Bundle
from llmastool.registry.loading import PREFIX, load_bundle, load_package

_OPEN_ROOTS = ("torch", "builtins", "llmastool.blocks")
"""Where a reference may lead besides bundles."""


class Resolver:
    """Turns references into objects and objects into references, over a set of bundles."""

    def __init__(self, bundles: Mapping[str, Bundle]) -> None:
        self.bundles = bundles
        self._by_prefix = {PREFIX + b.rpartition("@")[2]: b for b in bundles}
        self._by_name = {(b.name, b.source.digest): b.id for b in bundles.values()}
        self._by_plain_name = {b.name: b.id for b in bundles.values()}

    def find(self, ref: str, home: Bundle | None = None) -> Any:
        """Return the object that a reference names.

        Args:
            ref: the reference; a plain dotted name is looked for in `home` first, then among the bundles.
            home: the bundle in whose arguments the reference stands.

        Raises:
            RegistryError: nothing of that name can be found.
        """
        bundle_id, _, inner = ref.partition(":")
        if bundle_id in self.bundles:
            bundle = self.bundles[bundle_id]
            if inner:
                return _lookup(bundle, inner)
            return _twin(bundle, home) or load_bundle(bundle)
        if any(ref == root or ref.startswith(f"{root}.") for root in _OPEN_ROOTS):
            return _open_lookup(ref)
        if home is not None and any(ref.startswith(f"{f.name}.") for f in home.files):
            return _lookup(home, ref)
        if ref in self._by_plain_name:
            return load_bundle(self.bundles[self._by_plain_name[ref]])
        raise RegistryError(f"{ref}: expected a module of torch or of the registry, found none; mine its source again")

    def name(self, value: Any) -> str | None:
        """Return the reference of a class or function, or None when it has none."""
        module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
        if not isinstance(module, str) or "<" in qualname or not qualname:
            return None
        if module.startswith(PREFIX):
            return self._mined_name(module, qualname)
        for short in (f"torch.nn.{qualname}", f"torch.nn.functional.{qualname}", f"torch.{qualname}"):
            if _is(short, value):
                return short
        full = f"{module}.{qualname}"
        return full if any(full.startswith(f"{root}.") for root in _OPEN_ROOTS) and _is(full, value) else None

    def _mined_name(self, module: str, qualname: str) -> str | None:
        prefix, _, original = module.partition(".")
        home = self._by_prefix.get(prefix)
        if home is None:
            return None
        full = f"{original}.{qualname}"
        return self._by_name.get((full, self.bundles[home].source.digest), f"{home}:{full}")

    def decode(self, value: Json, home: Bundle | None = None, build: Callable[[Json], nn.Module] | None = None) -> Any:
        """Return the Python value of an encoded argument; `build` makes modules of `$tree` values."""
        if isinstance(value, list):
            return [self.decode(v, home, build) for v in value]
        if not isinstance(value, Mapping):
            return value
        if "$ref" in value:
            return self.find(value["$ref"], home)
        if "$tuple" in value:
            return tuple(self.decode(v, home, build) for v in value["$tuple"])
        if "$partial" in value:
            part = value["$partial"]
            func = self.decode(part["func"], home, build)
            args = self.decode(part["args"], home, build)
            return functools.partial(func, *args, **self.decode(part["kwargs"], home, build))
        if "$tree" in value:
            if build is None:
                raise RegistryError(f"expected plain arguments, got a module: {value!r:.80}")
            return build(value["$tree"])
        return {k: self.decode(v, home, build) for k, v in value.items()}

    def encode(self, value: Any, read: Callable[[nn.Module], Json] | None = None) -> Json:
        """Return the JSON form of a Python value; `read` writes modules down as trees.

        Raises:
            TypeError: the value has no such form.
        """
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, torch.Size | tuple) and type(value) in (tuple, torch.Size):
            return {"$tuple": [self.encode(v, read) for v in value]}
        if type(value) is list:
            return [self.encode(v, read) for v in value]
        if isinstance(value, dict) and all(isinstance(k, str) and not k.startswith("$") for k in value):
            return {k: self.encode(v, read) for k, v in value.items()}
        if type(value) is functools.partial:
            parts = {"func": value.func, "args": list(value.args), "kwargs": dict(value.keywords)}
            return {"$partial": {k: self.encode(v, read) for k, v in parts.items()}}
        if isinstance(value, nn.Module) and read is not None:
            return {"$tree": read(value)}
        if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
            ref = self.name(value)
            if ref is not None:
                return {"$ref": ref}
        raise TypeError(f"{type(value).__name__} cannot be written as an argument")


def _twin(bundle: Bundle, home: Bundle | None) -> Any:
    """Return the class of a bundle as `home` knows it, if it does: its code may ask whether an object is of it."""
    if home is None or home.source != bundle.source or all(f.name != bundle.module for f in home.files):
        return None
    try:
        return load_package(home).lookup(bundle.module, bundle.qualname)
    except AttributeError:
        return None


def _lookup(bundle: Bundle, dotted: str) -> Any:
    package = load_package(bundle)
    for file in sorted(bundle.files, key=lambda f: len(f.name), reverse=True):
        if dotted.startswith(f"{file.name}."):
            try:
                return package.lookup(file.name, dotted[len(file.name) + 1 :])
            except AttributeError:
                break
    raise RegistryError(f"{dotted}: not in the slice of {bundle.id}")


def _open_lookup(dotted: str) -> Any:
    parts = dotted.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        try:
            for part in parts[cut:]:
                value = getattr(value, part)
        except AttributeError:
            continue
        return value
    raise RegistryError(f"{dotted}: there is no such name in the installed {parts[0]}")


def _is(dotted: str, value: object) -> bool:
    try:
        return _open_lookup(dotted) is value
    except RegistryError:
        return False
