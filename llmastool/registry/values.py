"""Constructor arguments as JSON and back: classes, functions, tuples, partials, settings and modules included.

See `llmastool.trees.tree` for the encoding. A reference is a dotted name of torch or builtins, the id of a bundle, or
`<bundle id>:<dotted name>` for anything else in a bundle's own namespace.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
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
from llmastool.registry.loading import PREFIX, definitions, load_beside, load_bundle, load_package

_OPEN_ROOTS = ("torch", "builtins", "types", "collections.OrderedDict", "llmastool.blocks")
"""Where a reference may lead besides bundles."""

_SMALL = 4096
"""Most numbers of a tensor that is written as an argument."""


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
            ref: the reference; a plain dotted name is looked for among the bundles, then in `home`.
            home: the bundle in whose arguments the reference stands.

        Raises:
            RegistryError: nothing of that name can be found.
        """
        bundle_id, _, inner = ref.partition(":")
        if bundle_id in self.bundles:
            bundle = self.bundles[bundle_id]
            if inner:
                return _lookup(bundle, inner)
            return self._load(bundle, home)
        if _is_open(ref):
            return _open_lookup(ref)
        if ref in self._by_plain_name:
            bundle = self.bundles[self._by_plain_name[ref]]
            return self._load(bundle, home)
        if home is not None and any(ref.startswith(f"{f.name}.") for f in home.files):
            return _lookup(home, ref)
        raise RegistryError(f"{ref}: expected a module of torch or of the registry, found none; mine its source again")

    def _load(self, bundle: Bundle, home: Bundle | None) -> Any:
        """Return the class of a bundle, sharing what it can with `home`, whose code may ask what an object is."""
        if home is None or home.source != bundle.source or home.id == bundle.id:
            return load_bundle(bundle)
        twin = _twin(bundle, home)
        if twin is not None:
            return twin
        package = load_beside(bundle, home)
        self._by_prefix[package.prefix] = bundle.id
        return package.lookup(bundle.module, bundle.qualname)

    def name(self, value: Any, home: Bundle | None = None) -> str | None:
        """Return the reference of a class or function, or None when it has none.

        What was imported from a package whose source was mined has the reference of what was mined of it.

        Args:
            value: the class or function.
            home: the bundle in whose arguments it stands.
        """
        module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
        if not isinstance(module, str) or "<" in qualname or not qualname:
            return None
        if module.startswith(PREFIX):
            return self._mined_name(module, qualname)
        return _open_name(value, module, qualname) or self._original_name(module, qualname, home)

    def _original_name(self, module: str, qualname: str, home: Bundle | None) -> str | None:
        full = f"{module}.{qualname}"
        if full in self._by_plain_name:
            return self._by_plain_name[full]
        holders = self._holders.get((module, qualname.split(".")[0]), ())
        holder = home.id if home is not None and home.id in holders else next(iter(holders), None)
        return f"{holder}:{full}" if holder is not None else None

    @functools.cached_property
    def _holders(self) -> Mapping[tuple[str, str], Mapping[str, None]]:
        """The bundles whose slices hold a function or class, by its module and name."""
        found: dict[tuple[str, str], dict[str, None]] = {}
        for bundle in self.bundles.values():
            for file in bundle.files:
                for defined in definitions(file):
                    found.setdefault((file.name, defined), {})[bundle.id] = None
        return found

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
        if "$call" in value:
            part = value["$call"]
            func, args = self.decode(part["func"], home, build), self.decode(part["args"], home, build)
            return func(*args, **self.decode(part["kwargs"], home, build))
        if "$object" in value:
            part = value["$object"]
            return _revived(self.find(part["class"], home), self.decode(part["state"], home, build))
        if "$tree" in value:
            return build(value["$tree"]) if build is not None else self.build(value["$tree"], home)
        return {k: self.decode(v, home, build) for k, v in value.items()}

    def build(self, tree: Json, home: Bundle | None = None) -> nn.Module:
        """Return the module of a tree that has no children of its own, as arguments name them.

        Raises:
            RegistryError: the tree has children: `llmastool.trees.build` builds those.
        """
        if tree.get("children"):
            raise RegistryError(f"expected a module without edited children, got {tree!r:.80}")
        inner = self.bundles.get(tree["module"], home)
        args = {k: self.decode(v, inner) for k, v in tree.get("args", {}).items()}
        built: nn.Module = self.find(tree["module"], home)(**args)
        return built

    def encode(self, value: Any, read: Callable[[nn.Module], Json] | None = None, home: Bundle | None = None) -> Json:
        """Return the JSON form of a Python value; `read` writes modules down as trees.

        Args:
            value: an argument.
            read: from a module to its tree.
            home: the bundle in whose arguments it stands.

        Raises:
            TypeError: the value has no such form.
        """
        return encode(value, functools.partial(self.name, home=home), read)

    def canonical(self, value: Json, home: Bundle | None) -> Json:
        """Return an encoded argument with every plain dotted name replaced by the id that is meant.

        Raises:
            RegistryError: a name leads nowhere.
        """
        if isinstance(value, list):
            return [self.canonical(v, home) for v in value]
        if not isinstance(value, Mapping):
            return value
        if "$ref" in value:
            return {"$ref": self._full(value["$ref"], home)}
        if "$tree" in value:
            tree = value["$tree"]
            return {
                "$tree": {
                    **tree,
                    "module": self._full(tree["module"], home),
                    "args": self.canonical(tree.get("args", {}), home),
                }
            }
        return {k: self.canonical(v, home) for k, v in value.items()}

    def _full(self, ref: str, home: Bundle | None) -> str:
        if ref.partition(":")[0] in self.bundles or _is_open(ref):
            return ref
        if ref in self._by_plain_name:
            return self._by_plain_name[ref]
        if home is not None and any(ref.startswith(f"{f.name}.") for f in home.files):
            return f"{home.id}:{ref}"
        raise RegistryError(f"{ref}: expected a module of torch or of the registry, found none; mine its source again")


_PLAIN: Mapping[type, Callable[[Any], Json]] = {int: int.__int__, float: float.__float__, str: str.__str__}
"""How a value of a class made of one of these becomes one of it, whatever that class makes of its methods."""


def encode(value: Any, name: Callable[[Any], str | None], read: Callable[[nn.Module], Json] | None = None) -> Json:
    """Return the JSON form of a Python value; `name` gives references, `read` writes modules down as trees.

    Raises:
        TypeError: the value has no such form.
    """

    def inner(part: Any) -> Json:
        return encode(part, name, read)

    if isinstance(value, enum.Enum):
        return _reference(type(value), name, f".{value.name}")
    if value is None or type(value) in (bool, int, float, str):
        return value
    for kind, plain in _PLAIN.items():
        if isinstance(value, kind):
            return plain(value)
    if isinstance(value, nn.Module) and read is not None:
        return {"$tree": read(value)}
    if isinstance(value, torch.dtype):
        return {"$ref": str(value)}
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        return _reference(value, name)
    return _encode_parts(value, inner, name)


def _encode_parts(value: Any, inner: Callable[[Any], Json], name: Callable[[Any], str | None]) -> Json:
    """Return the JSON form of a value that holds others."""
    fields = _fields(value)
    if fields is not None:
        kwargs = {key: inner(part) for key, part in fields.items()}
        return {"$call": {"func": _reference(type(value), name), "args": [], "kwargs": kwargs}}
    if isinstance(value, torch.Tensor):
        return _encode_tensor(value)
    if isinstance(value, tuple):
        return {"$tuple": [inner(v) for v in value]}
    if type(value) is list:
        return [inner(v) for v in value]
    if type(value) is dict and all(isinstance(k, str) and not k.startswith("$") for k in value):
        return {k: inner(v) for k, v in value.items()}
    if type(value) is functools.partial:
        parts = {"func": value.func, "args": list(value.args), "kwargs": dict(value.keywords)}
        return {"$partial": {k: inner(v) for k, v in parts.items()}}
    if isinstance(value, dict) and type(value) in (dict, collections.OrderedDict):
        pairs = [{"$tuple": [inner(k), inner(v)]} for k, v in value.items()]
        return {"$call": {"func": _reference(type(value), name), "args": [pairs], "kwargs": {}}}
    if _is_plain_object(value):
        state = {key: inner(part) for key, part in vars(value).items()}
        return {"$object": {"class": _reference(type(value), name)["$ref"], "state": state}}
    raise TypeError(f"{type(value).__name__} cannot be written as an argument")


def _encode_tensor(value: torch.Tensor) -> Json:
    if value.numel() > _SMALL or value.is_meta or value.requires_grad:
        raise TypeError(f"a tensor of {value.numel()} numbers cannot be written as an argument")
    kwargs = {"dtype": {"$ref": str(value.dtype)}}
    return {"$call": {"func": {"$ref": "torch.tensor"}, "args": [value.tolist()], "kwargs": kwargs}}


def _is_plain_object(value: Any) -> bool:
    """Return whether an object is no more than a class and its attributes."""
    cls = type(value)
    plain = cls.__new__ is object.__new__ and cls.__reduce__ is object.__reduce__ and hasattr(value, "__dict__")
    return plain and not isinstance(value, nn.Module | types.ModuleType) and not callable(value)


def _revived(cls: type, state: Mapping[str, Any]) -> Any:
    """Return an object with the attributes that it was seen with."""
    made: Any = object.__new__(cls)
    vars(made).update(state)
    return made


def _fields(value: Any) -> dict[str, Any] | None:
    """Return what a settings object is made of; None for other values."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {f: getattr(value, f) for f in value._fields}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    return dict(vars(value)) if type(value) is types.SimpleNamespace else None


def _reference(value: Any, name: Callable[[Any], str | None], after: str = "") -> Json:
    ref = name(value)
    if ref is None:
        raise TypeError(f"{value!r:.80} cannot be written as an argument: it has no name by which it can be found")
    return {"$ref": ref + after}


def plain_name(value: Any) -> str | None:
    """Return the dotted name of a class or function as its source knows it, or None when it has none."""
    module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    if not isinstance(module, str) or "<" in qualname or not qualname:
        return None
    if module.startswith(PREFIX):
        return f"{module.partition('.')[2]}.{qualname}"
    return _open_name(value, module, qualname)


def _open_name(value: Any, module: str, qualname: str) -> str | None:
    for short in (f"torch.nn.{qualname}", f"torch.nn.functional.{qualname}", f"torch.{qualname}"):
        if _is(short, value):
            return short
    full = f"{module}.{qualname}"
    return full if _is_open(full) and _is(full, value) else None


def _is_open(ref: str) -> bool:
    return any(ref == root or ref.startswith(f"{root}.") for root in _OPEN_ROOTS)


def _twin(bundle: Bundle, home: Bundle) -> Any:
    """Return the class of a bundle as `home` knows it, None where it does not."""
    if all(f.name != bundle.module for f in home.files):
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
