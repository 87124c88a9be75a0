"""Names for one flat file: every name of every source file gets one that clashes with no other."""

from __future__ import annotations

import ast
import builtins
import itertools
import keyword
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from llmastool.trees.scopes import bound_name
from llmastool.trees.units import Chunk, ImportNode, Item, Source, Unit

HELPERS = ("_Module", "_imported", "_revive", "_run_module")
"""Names of the helpers that an exported file may hold."""

_TAKEN = frozenset({*dir(builtins), *keyword.kwlist, *keyword.softkwlist, *HELPERS, "build_model"})


@dataclass(frozen=True)
class Outside:
    """Something imported from another package: `from module import name`, or the module itself."""

    module: str
    name: str
    """Empty for the module itself."""
    bound: str


@dataclass(frozen=True)
class Own:
    """A name of a source file. Names of one file keep their identity; two files' names of one spelling are two."""

    unit: Unit
    name: str


@dataclass(frozen=True)
class View:
    """A module of a source as an object."""

    source: Source
    name: str
    """Dotted name."""


Symbol = Outside | Own | View


def outside(node: ImportNode, alias: ast.alias) -> Outside:
    """Return what an item of an import of another package stands for, the same for equivalent spellings."""
    bound = bound_name(alias, node)
    if isinstance(node, ast.ImportFrom):
        assert node.module is not None
        full = f"{node.module}.{alias.name}"
        return Outside(full, "", bound) if full in _COMMON else Outside(node.module, alias.name, bound)
    return Outside(alias.name if alias.asname else bound, "", bound)


_HOLDERS = ("id", "name", "arg", "asname", "rest")
"""Fields of `ast` nodes that hold an identifier."""

_COMMON = frozenset({"torch.nn", "torch.nn.functional", "torch.utils.checkpoint", "torch.nn.init"})
"""Modules that code imports both with `from ... import` and with `import ... as`."""


class Names:
    """The flat name of every symbol."""

    def __init__(self, units: Iterable[Unit], boxed: Iterable[Unit], first: Iterable[Symbol]) -> None:
        """Give out names: those of `first` keep theirs wherever two clash, then those of other packages."""
        self._units = list(units)
        self._boxed = frozenset(boxed)
        self._given: dict[Symbol, str] = {}
        self._used: set[str] = set(_TAKEN)
        flat = [unit for unit in self._units if unit not in self._boxed]
        every = [self.symbol(unit, name) for unit in flat for name in sorted(unit.names)]
        for symbol in [*first, *(s for s in every if isinstance(s, Outside)), *every]:
            self.give(symbol)

    def give(self, symbol: Symbol) -> str:
        """Return the flat name of a symbol, giving it one when it has none."""
        if symbol not in self._given:
            wanted, other = _wishes(symbol)
            name = wanted if wanted not in self._used else self._fresh(other)
            self._given[symbol] = name
            self._used.add(name)
        return self._given[symbol]

    def _fresh(self, wanted: str) -> str:
        """Return a name that nothing uses, nor any local scope: it may be put in place of another."""
        tries = itertools.chain([wanted], (f"{wanted}_{number}" for number in itertools.count(2)))
        return next(name for name in tries if name not in self._used and name not in self._written)

    def free(self, wanted: str) -> str:
        """Return a name that nothing in the file has, for a local variable."""
        name = self._fresh(wanted)
        self._used.add(name)
        return name

    def expression(self, unit: Unit, name: str) -> str:
        """Return how a name of a source file is written in the flat one."""
        if unit in self._boxed:
            return f"{self.give(View(unit.source, unit.name))}.{name}"
        return self.give(self.symbol(unit, name))

    def renames(self, unit: Unit) -> Mapping[str, str]:
        """Return the names of a file that are not the same in the flat one."""
        pairs = {name: self.expression(unit, name) for name in unit.names}
        return {name: flat for name, flat in pairs.items() if name != flat}

    def symbol(self, unit: Unit, name: str, seen: frozenset[tuple[Unit, str]] = frozenset()) -> Symbol:
        """Return what a name of a file stands for: the thing itself where it is imported for good, else its own."""
        own = Own(unit, name)
        targets = {self._target(unit, chunk, use.node, name) for chunk, use in unit.binders.get(name, ())}
        if name not in unit.binders:  # a star import within the source brings it
            targets = set(self._star_targets(unit, name))
        target = next(iter(targets)) if len(targets) == 1 else None
        if isinstance(target, Outside):
            return target
        if not isinstance(target, Item) or target.missing:
            return own
        if target.unit is None:
            return View(unit.source, target.name)
        alias = target.name != name or target.unit in self._boxed or not _is_stable(target.unit, name)
        return own if alias or (unit, name) in seen else self.symbol(target.unit, name, seen | {(unit, name)})

    def _target(self, unit: Unit, chunk: Chunk, node: ast.AST, name: str) -> Outside | Item | None:
        """Return where a plain top-level import leads; None for any other way of binding a name."""
        if not (chunk.is_import and isinstance(node, ast.alias)):
            return None
        statement = next(s for s in chunk.tree.body if isinstance(s, ImportNode) and node in s.names)
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            return None
        items = [item for item in unit.source.items(unit, statement) if item.bound == name]
        return items[0] if unit.source.owns(statement) and items else outside(statement, node)

    def _star_targets(self, unit: Unit, name: str) -> Iterable[Item]:
        for chunk in unit.chunks:
            for node in chunk.tree.body:
                star = isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
                if chunk.is_import and isinstance(node, ast.ImportFrom) and star and unit.source.owns(node):
                    yield from (item for item in unit.source.items(unit, node) if item.bound == name)

    @cached_property
    def _written(self) -> frozenset[str]:
        """Every identifier that is written anywhere: a new name must not be caught by a local one."""
        found: set[str] = set()
        for unit in self._units:
            for chunk in unit.chunks:
                for node in ast.walk(chunk.tree):
                    found.update(v for f in _HOLDERS if isinstance(v := getattr(node, f, None), str))
        return frozenset(found)


def _wishes(symbol: Symbol) -> tuple[str, str]:
    """Return the name that a symbol should have, and the one to try next."""
    match symbol:
        case Outside(module, name, bound):
            return bound, f"{module.replace('.', '_')}_{name}" if name else module.replace(".", "_")
        case Own(unit, name):
            return name, f"{name}_{_last(unit.name)}"
        case View(_, name):
            return name.rpartition(".")[2], f"_{name.replace('.', '_')}"
    raise AssertionError(symbol)


def _last(dotted: str) -> str:
    return dotted.rpartition(".")[2].strip("_")


def _is_stable(unit: Unit, name: str) -> bool:
    """Return whether a name keeps its value once its file has been executed."""
    return not any(use.inside for _, use in unit.binders.get(name, ()))
