"""The sliced files of several bundles put together again, file by file, and where the imports between them lead."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from llmastool.mining.bundle import Bundle
from llmastool.trees.scopes import Use, bound_name, module_uses

ImportNode = ast.Import | ast.ImportFrom

_PLAIN = frozenset({"torch", *sys.stdlib_module_names})
"""Packages that are sure to be there."""


@dataclass(eq=False)
class Chunk:
    """One top-level statement of a file, or the narrowed lines of an import."""

    line: int
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The statement, parsed."""
        return ast.parse(self.text)

    @cached_property
    def uses(self) -> list[Use]:
        """Every use of a name of the file in it."""
        return module_uses(self.tree)

    @property
    def is_import(self) -> bool:
        """Whether it is nothing but imports."""
        return all(isinstance(node, ImportNode) for node in self.tree.body)


@dataclass(eq=False)
class Unit:
    """One source file, as far as any of the bundles needs it."""

    source: Source
    name: str
    """Dotted module name."""
    package: bool
    chunks: list[Chunk] = field(default_factory=list)

    @property
    def path(self) -> str:
        """Path of the file within its source."""
        return self.name.replace(".", "/") + ("/__init__.py" if self.package else ".py")

    @cached_property
    def binders(self) -> Mapping[str, list[tuple[Chunk, Use]]]:
        """Where the file's names are bound; those that a star import brings are not in it."""
        found: dict[str, list[tuple[Chunk, Use]]] = {}
        for chunk in self.chunks:
            for use in chunk.uses:
                if use.binds:
                    found.setdefault(use.name, []).append((chunk, use))
        return found

    @cached_property
    def names(self) -> frozenset[str]:
        """All names that the file binds, those of star imports within the source included."""
        return frozenset(self.binders) | {i.bound for n in self._stars() for i in self.source.items(self, n)}

    @property
    def public(self) -> Iterator[str]:
        """The names that a star import of this file brings."""
        listed = [n for c in self.chunks for n in c.tree.body if isinstance(n, ast.Assign) and _is_all(n)]
        if listed and all(isinstance(n.value, ast.List | ast.Tuple) for n in listed):
            wanted = {e.value for n in listed for e in ast.walk(n.value) if isinstance(e, ast.Constant)}
            yield from sorted(self.names & wanted)
        else:
            yield from sorted(name for name in self.names if not name.startswith("_"))

    @cached_property
    def outside_star(self) -> str | None:
        """The package of others of which the file imports all names; None where there is none."""
        for chunk in self.chunks:
            for node in ast.walk(chunk.tree):
                if isinstance(node, ast.ImportFrom) and node.names[0].name == "*" and not self.source.owns(node):
                    return node.module
        return None

    def _stars(self) -> Iterator[ast.ImportFrom]:
        for chunk in self.chunks:
            for node in ast.walk(chunk.tree):
                if isinstance(node, ast.ImportFrom) and node.names[0].name == "*" and self.source.owns(node):
                    yield node


def _is_all(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets)


@dataclass(frozen=True)
class Item:
    """One name that an import within a source brings."""

    bound: str
    unit: Unit | None = None
    """File of the object, or None for a module or what is missing."""
    name: str = ""
    """The object's name in that file, or the dotted name of the module."""
    missing: str = ""
    """What an import of it raises, as an expression; empty where it is there."""


@dataclass(eq=False)
class Source:
    """The files of one source."""

    digest: str
    units: dict[str, Unit] = field(default_factory=dict)

    @cached_property
    def known(self) -> frozenset[str]:
        """Dotted names of all files and of the packages around them."""
        return frozenset(".".join(n.split(".")[:i]) for n in self.units for i in range(1, n.count(".") + 2))

    def owns(self, node: ImportNode) -> bool:
        """Return whether any part of an import names this source itself."""
        if isinstance(node, ast.ImportFrom):
            return node.level > 0 or (node.module or "").split(".")[0] in self.known
        return any(alias.name.split(".")[0] in self.known for alias in node.names)

    def modules(self, unit: Unit, node: ImportNode) -> list[str]:
        """Return the dotted names of the modules of the source that an import executes, in order."""
        if isinstance(node, ast.Import):
            return [a.name for a in node.names if a.name in self.known]
        origin = self._absolute(unit, node)
        if origin not in self.known:
            return []
        target = self.units.get(origin)
        below = [f"{origin}.{a.name}" for a in node.names if target is None or a.name not in target.names]
        return [origin, *(name for name in below if name in self.known)]

    def items(self, unit: Unit, node: ImportNode) -> list[Item]:
        """Return what an import of the source itself brings; those parts that are of others are left out."""
        if isinstance(node, ast.Import):
            return [self._module_item(a) for a in node.names if a.name.split(".")[0] in self.known]
        origin = self._absolute(unit, node)
        if origin not in self.known:
            return [_missing(bound_name(alias, node), origin) for alias in node.names]
        target = self.units.get(origin)
        if node.names[0].name == "*":
            return [Item(name, target, name) for name in target.public] if target is not None else []
        return [self._item(origin, target, alias, bound_name(alias, node)) for alias in node.names]

    def _module_item(self, alias: ast.alias) -> Item:
        if alias.name not in self.known:
            return _missing(alias.asname or alias.name.split(".")[0], alias.name)
        top = alias.name.split(".")[0]
        return Item(alias.asname, None, alias.name) if alias.asname else Item(top, None, top)

    def _item(self, origin: str, target: Unit | None, alias: ast.alias, bound: str) -> Item:
        if target is not None and alias.name in target.names:
            return Item(bound, target, alias.name)
        if f"{origin}.{alias.name}" in self.known:
            return Item(bound, None, f"{origin}.{alias.name}")
        return Item(bound, missing=f'ImportError("cannot import name {alias.name!r} from {origin!r}")')

    def _absolute(self, unit: Unit, node: ast.ImportFrom) -> str:
        if node.level == 0:
            return node.module or ""
        parts = unit.name.split(".") if unit.package else unit.name.split(".")[:-1]
        parts = parts[: max(0, len(parts) - (node.level - 1))]
        return ".".join([*parts, node.module] if node.module else parts)


def _missing(bound: str, module: str) -> Item:
    return Item(bound, missing=f'ModuleNotFoundError("No module named {module!r}")')


def merge(bundles: Iterable[Bundle]) -> dict[str, Source]:
    """Put the files of bundles together by source: statements by their line in the original file, each once."""
    sources: dict[str, Source] = {}
    texts: dict[tuple[str, str], dict[int, dict[str, None]]] = {}
    for bundle in bundles:
        source = sources.setdefault(bundle.source.digest, Source(bundle.source.digest))
        for file in bundle.files:
            source.units.setdefault(file.name, Unit(source, file.name, file.package))
            lines = texts.setdefault((source.digest, file.name), {})
            for line, text in file.statements:
                lines.setdefault(line, {})[text] = None
    for (digest, name), lines in texts.items():
        chunks = [chunk for line in sorted(lines) for chunk in _chunks(line, list(lines[line]))]
        sources[digest].units[name].chunks = chunks
    return sources


def _chunks(line: int, texts: list[str]) -> list[Chunk]:
    """Join the differently narrowed forms of one import; other statements that share a line stay apart."""
    chunks = [Chunk(line, text) for text in texts]
    if len(chunks) > 1 and all(chunk.is_import for chunk in chunks):
        lines = {node_text for text in texts for node_text in text.split("\n")}
        return [Chunk(line, "\n".join(sorted(lines)))] if all(_is_statement(part) for part in lines) else chunks
    return chunks


def _is_statement(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def can_fail(unit: Unit) -> bool:
    """Return whether executing a file may raise ImportError, because of a package that may not be there."""
    return any(_may_miss(below) for below in _closure(unit))


def reaches(unit: Unit, other: Unit) -> bool:
    """Return whether executing a file executes another, itself included."""
    return other in _closure(unit)


def _may_miss(unit: Unit) -> bool:
    for node in _plain_imports(unit):
        if not unit.source.owns(node):
            if any(name.split(".")[0] not in _PLAIN for name in _packages(node)):
                return True
        elif any(item.missing for item in unit.source.items(unit, node)):
            return True
    return False


def _closure(unit: Unit) -> set[Unit]:
    found, stack = {unit}, [unit]
    while stack:
        for below in _below(stack.pop()):
            if below not in found:
                found.add(below)
                stack.append(below)
    return found


def _plain_imports(unit: Unit) -> Iterator[ImportNode]:
    for chunk in unit.chunks:
        if chunk.is_import:
            yield from (node for node in chunk.tree.body if isinstance(node, ImportNode))


def _below(unit: Unit) -> Iterator[Unit]:
    for node in _plain_imports(unit):
        names = unit.source.modules(unit, node) if unit.source.owns(node) else []
        yield from (unit.source.units[name] for name in names if name in unit.source.units)


def _packages(node: ImportNode) -> list[str]:
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
