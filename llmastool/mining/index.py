"""The index of a source: all its files, and where a name leads across them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from tree_sitter import Node

from llmastool.mining.imports import Import
from llmastool.mining.names import COMPREHENSIONS
from llmastool.mining.nodes import chain, field, text, walk
from llmastool.mining.parsed import IndexedFile
from llmastool.mining.sources import SourceTree
from llmastool.mining.statements import Statement

LONGEST_CHAIN = 50
"""Most parts of a chain that are followed. `x = x.y` names ever longer ones."""


@dataclass(frozen=True)
class Found:
    """Where a chain leads: a class or other statement of the source, or a dotted name outside of it."""

    file: IndexedFile | None
    """File of the statement; None for what lies outside the source."""
    statement: Statement | None
    """The statement; None for what lies outside the source, and for a module itself."""
    name: str
    """Absolute dotted name."""


@dataclass(frozen=True)
class _Read:
    """A chain that is still to be followed."""

    file: IndexedFile
    dotted: str


class SourceIndex:
    """All files of a source, and the way names take between them."""

    def __init__(self, tree: SourceTree) -> None:
        self.tree = tree
        self.files = {f.module: IndexedFile(f) for f in tree.files}
        self._exports: dict[str, frozenset[str] | None] = {}
        self._origins: dict[tuple[str, str], list[IndexedFile]] = {}

    @cached_property
    def definers(self) -> Mapping[str, list[str]]:
        """Modules by the names of the classes and functions that they define."""
        found: dict[str, list[str]] = {}
        for file in self.files.values():
            for name in {n for s in file.statements if s.definition is not None for n in s.binds}:
                found.setdefault(name, []).append(file.name)
        return found

    @cached_property
    def packages(self) -> frozenset[str]:
        """Top-level packages that the source imports."""
        return frozenset(
            f.absolute(i).split(".")[0] for f in self.files.values() for s in f.statements for i in s.imports
        )

    def provides(self, file: IndexedFile, name: str) -> bool:
        """Return whether a file binds `name` to something other than its own submodule of that name."""
        own = f"{file.name}.{name}"
        for statement in file.binders.get(name, []):
            imported = {f"{file.absolute(i)}.{i.name}" for i in statement.imports if i.bound == name and i.name}
            if own not in self.files or imported != {own}:
                return True
        if name in file.binders:
            return False
        if self.star_origin(file, name) or file.dynamic_binders(name):
            return True
        return "__getattr__" in file.binders and own not in self.files

    def home(self, file: IndexedFile, dotted: str) -> tuple[IndexedFile, str, str] | None:
        """Return the file of the source, the name and the rest to which imports lead from a chain; None for outside."""
        seen: set[tuple[str, str]] = set()
        while (file.name, dotted) not in seen:
            seen.add((file.name, dotted))
            root, _, rest = dotted.partition(".")
            statements = file.binders.get(root, [])
            items = [i for s in statements for i in s.imports if i.bound == root and not i.guarded]
            if statements and not items:
                return file, root, rest
            if items:
                whole = self._whole(file, items[0], rest)
            else:
                whole = next((f"{o.name}.{dotted}" for o in self.star_origin(file, root)), "")
            parts = whole.split(".")
            cut = next((n for n in range(len(parts) - 1, 0, -1) if ".".join(parts[:n]) in self.files), 0)
            if not cut:
                return None
            file, dotted = self.files[".".join(parts[:cut])], ".".join(parts[cut:])
        return None

    @staticmethod
    def _whole(file: IndexedFile, item: Import, rest: str) -> str:
        """Return the absolute dotted name of what is read from an imported name."""
        module = file.absolute(item)
        if item.name is None:
            base = module if item.bound != module.split(".")[0] else item.bound
        else:
            base = f"{module}.{item.name}"
        return f"{base}.{rest}" if rest else base

    def exports(self, file: IndexedFile, name: str) -> bool:
        """Return whether `from file import *` brings `name`, as far as `__all__` is written out."""
        listed = self._listed(file)
        return not name.startswith("_") if listed is None else name in listed

    def _listed(self, file: IndexedFile) -> frozenset[str] | None:
        """Return the names in a file's `__all__`, other files' added in; None where there is none that can be read."""
        if file.name not in self._exports:
            self._exports[file.name] = None  # what a file in a circle of imports sees of it
            self._exports[file.name] = self._read_all(file)
        return self._exports[file.name]

    def _read_all(self, file: IndexedFile) -> frozenset[str] | None:
        statements = {id(s): s for s in [*file.binders.get("__all__", []), *file.touchers.get("__all__", [])]}
        names: set[str] = set()
        for statement in statements.values():
            if any(n.type in COMPREHENSIONS for n in walk(statement.node)):
                return None  # computed in a way that only running it would tell
            names.update(text(n) for n in walk(statement.node) if n.type == "string_content")
            for dotted in statement.chains:
                if dotted.partition(".")[0] != "__all__":
                    more = self._listed_by(file, dotted)
                    if more is None:
                        return None
                    names.update(more)
        return frozenset(names) if statements else None

    def _listed_by(self, file: IndexedFile, dotted: str) -> frozenset[str] | None:
        """Return the `__all__` of another file, read as `other.__all__` or by the name under which it was imported."""
        owner, _, last = dotted.rpartition(".")
        if owner and last == "__all__":
            found = [f.file for f in self.resolve(file, owner) if f.file is not None and f.statement is None]
            below = self.files.get(f"{file.name}.{owner}")  # a package knows its submodules without an import
            found += [below] if below is not None and not found else []
        else:
            items = [i for s in file.binders.get(dotted, []) for i in s.imports if i.bound == dotted]
            modules = [file.absolute(i) for i in items if i.name == "__all__"]
            found = [self.files[m] for m in modules if m in self.files]
        lists = [self._listed(f) for f in found]
        known = [names for names in lists if names is not None]
        return frozenset().union(*known) if known and len(known) == len(lists) else None

    def star_origin(self, file: IndexedFile, name: str) -> list[IndexedFile]:
        """Return the files of the source from which a star import of `file` brings `name`, in the order of the text."""
        key = (file.name, name)
        if key not in self._origins:
            origins = {o.name: o for o in self._star_files(file) if self._brings(o, name)}
            self._origins[key] = list(origins.values())
        return self._origins[key]

    def _star_files(self, file: IndexedFile) -> Iterator[IndexedFile]:
        for _, item in file.stars:
            origin = self.files.get(file.absolute(item))
            if origin is not None and origin is not file:
                yield origin

    def _brings(self, origin: IndexedFile, name: str) -> bool:
        """Return whether a star import of `origin` brings `name`, by a binding of its own or a star import in turn."""
        seen: set[str] = set()
        stack = [origin]
        while stack:
            file = stack.pop()
            if file.name not in seen and self.exports(file, name):
                if name in file.binders:
                    return True
                seen.add(file.name)
                stack.extend(self._star_files(file))
        return False

    def resolve(self, file: IndexedFile, dotted: str) -> Iterator[Found]:
        """Yield the ends to which a chain read in `file` can lead; more than one where code chooses at run time."""
        seen: set[tuple[str, str]] = set()
        stack: list[Found | _Read] = [_Read(file, dotted)]
        while stack:
            item = stack.pop()
            if isinstance(item, Found):
                yield item
            elif (item.file.name, item.dotted) not in seen and item.dotted.count(".") < LONGEST_CHAIN:
                seen.add((item.file.name, item.dotted))
                stack.extend(reversed(list(self._step(item.file, item.dotted))))

    def _step(self, file: IndexedFile, dotted: str) -> Iterator[Found | _Read]:
        root, _, rest = dotted.partition(".")
        statements = file.binders.get(root, [])
        for statement in statements:
            imported = [i for i in statement.imports if i.bound == root]
            if imported:
                yield from (self._follow(file, item, rest) for item in imported)
            elif statement.definition is not None:
                yield Found(file, statement, f"{file.name}.{dotted}")
            else:
                alias = _alias(statement.node, root)
                if alias is not None:
                    yield _Read(file, f"{alias}.{rest}" if rest else alias)
                elif statement.node.type in ("if_statement", "try_statement"):
                    yield Found(file, statement, f"{file.name}.{dotted}")
        if not statements:
            yield from (_Read(origin, dotted) for origin in self.star_origin(file, root))
            for _, item in file.stars:
                if file.absolute(item) not in self.files:
                    yield Found(None, None, f"{file.absolute(item)}.{dotted}")

    def _follow(self, file: IndexedFile, item: Import, rest: str) -> Found | _Read:
        target = self.files.get(file.absolute(item))
        if item.name is not None and target is not None and self.provides(target, item.name):
            return _Read(target, f"{item.name}.{rest}" if rest else item.name)
        return self._module(self._whole(file, item, rest))

    def _module(self, dotted: str) -> Found | _Read:
        """Resolve an absolute dotted name: the longest module of the source, then what is left within it."""
        parts = dotted.split(".")
        for cut in range(len(parts), 0, -1):
            file = self.files.get(".".join(parts[:cut]))
            if file is not None:
                return Found(file, None, dotted) if cut == len(parts) else _Read(file, ".".join(parts[cut:]))
        return Found(None, None, dotted)


def _alias(node: Node, name: str) -> str | None:
    """Return `b.c` for the statement `name = b.c`."""
    inner = node.named_children[0] if node.type == "expression_statement" and node.named_children else None
    if inner is None or inner.type != "assignment":
        return None
    left, right = field(inner, "left"), field(inner, "right")
    if left is None or right is None or text(left) != name:
        return None
    return chain(right)
