"""Read a network into a tree. Constructor arguments are captured while the network is built, not guessed afterwards.

The network may be of mined classes, or of the very packages that were mined: a class that was imported from its package
is read as the mined class of that name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from llmastool.canonical import Json
from llmastool.errors import RegistryError, TreeError
from llmastool.meta import ShapesOnly
from llmastool.recent import Recent
from llmastool.registry.capture import Captured, capture
from llmastool.registry.loading import PREFIX
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog
from llmastool.trees.tree import CONTAINERS, POSITIONAL, SAME, Tree, join


def build_captured(tree: Tree, catalog: Catalog) -> tuple[nn.Module, Captured]:
    """Build a tree and return the constructor calls beside the network."""
    load(tree, catalog)
    with capture() as captured:
        net = build(tree, catalog)
    return net, captured


def load(tree: Tree, catalog: Catalog) -> None:
    """Have all classes of a tree exist, which their constructors can be watched after.

    Raises:
        RegistryError: the catalog lacks one; the message starts with the path.
    """
    for path, module in tree.named():
        try:
            catalog.load(module)
        except RegistryError as error:
            raise RegistryError(f"{path or '<root>'}: {error}") from None


def read_from(factory: Callable[[], nn.Module], catalog: Catalog) -> tuple[nn.Module, Tree]:
    """Return the network that a function makes, and its tree.

    Raises:
        TreeError: as `read` does.
    """
    with capture() as captured:
        net = factory()
    return net, read(net, captured, catalog)


def read(net: nn.Module, captured: Captured, catalog: Catalog) -> Tree:
    """Return the tree of a network that was built inside `capture()`.

    A module's children are stored only where they differ from what its constructor builds by itself.

    Raises:
        TreeError: a module is of an unknown class, or was called with arguments that cannot be written down; the
            message starts with its path.
    """
    return _Reader(_Built(net, captured), catalog).read(net, "")


def encode_args(module: nn.Module, captured: Captured, catalog: Catalog, path: str = "") -> dict[str, Json]:
    """Return a module's constructor arguments as JSON.

    Raises:
        TreeError: its constructor was not seen, or an argument cannot be written down.
    """
    call = captured.get(module)
    where = path or "<root>"
    name = catalog.name(type(module))
    if call is None or not (call.complete or call.positional):
        raise TreeError(f"{where}: the constructor of {type(module).__qualname__} was not seen")

    def nested(value: nn.Module) -> Json:
        tree = _Reader(_Built(value, captured), catalog, path).read(value, "")
        return {k: v for k, v in tree.to_json().items() if k != "version"}

    given = {**({POSITIONAL: list(call.positional)} if call.positional else {}), **call.args}
    try:
        return {key: catalog.encode(value, name or "", nested) for key, value in given.items()}
    except TypeError as error:
        raise TreeError(f"{where}: {error}") from None


@dataclass(frozen=True)
class _Built:
    """A network and the constructor calls that made it."""

    net: nn.Module
    captured: Captured

    @cached_property
    def first(self) -> Mapping[nn.Module, str]:
        """The path at which each module stands first."""
        return {module: path for path, module in self.net.named_modules()}


class _Reader:
    """Reads one network, or one module among arguments."""

    def __init__(self, built: _Built, catalog: Catalog, around: str = "") -> None:
        self.built, self.catalog, self.around = built, catalog, around

    def read(self, module: nn.Module, path: str) -> Tree:
        """Return the tree of a module that stands at a path."""
        where = join(self.around, path) or "<root>"
        name = self.catalog.name(type(module))
        if name is None:
            raise TreeError(f"{where}: {type(module).__qualname__} is in no registry; mine its source")
        if name in CONTAINERS:
            inner = ((slot, c, join(path, slot)) for slot, c in _children(module))
            return Tree(name, {}, tuple((slot, self._shared(c, at) or self.read(c, at)) for slot, c, at in inner))
        args = encode_args(module, self.built.captured, self.catalog, join(self.around, path))
        twin = _twin(Tree(name, args), self.catalog)
        return Tree(name, args, tuple(self._differences(module, twin.net, twin, path, "")))

    def _shared(self, module: nn.Module, path: str) -> Tree | None:
        """Return a node that stands for a module's first place, where it is not at this path."""
        first = self.built.first[module]
        return Tree(SAME, {"path": first}) if first != path else None

    def _differences(
        self, module: nn.Module, other: nn.Module, twin: _Built, path: str, prefix: str
    ) -> Iterator[tuple[str, Tree]]:
        """Yield the children, at any depth, that differ from those of a freshly built twin."""
        others = dict(_children(other))
        for name, child in _children(module):
            slot, below = join(prefix, name), join(path, name)
            fresh = others.get(name)
            if fresh is None:
                made = f"{type(module).__qualname__} has a child that its constructor does not make"
                raise TreeError(f"{join(self.around, below)}: {made}")
            shared, shared_there = self._shared(child, below), twin.first[fresh] != slot
            if shared is not None:
                if shared.args["path"] != join(path[: len(path) - len(prefix)].rstrip("."), twin.first[fresh]):
                    yield slot, shared
            elif shared_there or not self._same(child, fresh, twin):
                yield slot, self.read(child, below)
            else:
                yield from self._differences(child, fresh, twin, below, slot)

    def _same(self, a: nn.Module, b: nn.Module, twin: _Built) -> bool:
        """Return whether two modules are of one class and were built by equal calls."""
        if _dotted(type(a)) != _dotted(type(b)):
            return False
        if self.catalog.name(type(a)) in CONTAINERS:
            return [n for n, _ in _children(a)] == [n for n, _ in _children(b)]
        return _mark_of_call(a, self.built.captured) == _mark_of_call(b, twin.captured)


def _twin(tree: Tree, catalog: Catalog) -> _Built:
    """Return what a constructor makes by itself, on the meta device; the same again for the same call."""

    def built() -> _Built:
        with torch.device("meta"), ShapesOnly():
            return _Built(*build_captured(tree, catalog))

    return _TWINS.setdefault(catalog, Recent(_MOST_TWINS)).get(tree.id, built)


_TWINS: WeakKeyDictionary[Catalog, Recent[str, _Built]] = WeakKeyDictionary()
_MOST_TWINS = 512


def _children(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the children by name, one that has two names twice."""
    yield from ((name, child) for name, child in module._modules.items() if child is not None)


def _mark_of_call(module: nn.Module, captured: Captured) -> object:
    call = captured.get(module)
    if call is None:
        return None
    mark = partial(_mark, captured=captured)
    return sorted((k, mark(v)) for k, v in call.args.items()), [mark(v) for v in call.positional]


def _mark(value: Any, captured: Captured) -> str:
    """Return a text that is equal for equal arguments, whichever device or copy of a package they are of."""
    mark = partial(_mark, captured=captured)
    if isinstance(value, torch.Tensor):
        return f"tensor {tuple(value.shape)} {value.dtype}"
    if isinstance(value, nn.Module):
        return f"{_dotted(type(value))}{_mark_of_call(value, captured)}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}{[mark(v) for v in value]}"
    if isinstance(value, dict):
        return f"dict{[(repr(k), mark(v)) for k, v in value.items()]}"
    if isinstance(value, partial):
        return f"partial {mark(value.func)} {mark(value.args)} {mark(value.keywords)}"
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    return _dotted(value if hasattr(value, "__qualname__") else type(value))


def _dotted(value: Any) -> str:
    """Return the dotted name of a class or function, the same for a mined one and for its original."""
    module = str(getattr(value, "__module__", ""))
    return f"{module.partition('.')[2] if module.startswith(PREFIX) else module}.{value.__qualname__}"
