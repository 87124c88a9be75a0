"""Slice a class: the top-level statements, over all files of its source, that it needs in order to be defined and run.

Whole statements are taken, so that an `if` or `try` around a definition survives. Bare imports are narrowed to the
names in use. An import of a file that the source does not have is kept: it fails when loaded, as it would have.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from llmastool.mining.bundle import SlicedFile
from llmastool.mining.classes import ModuleClass
from llmastool.mining.index import IndexedFile, SourceIndex, Statement
from llmastool.mining.names import Import


@dataclass
class _Wanted:
    """What is taken of one file."""

    whole: dict[int, Statement] = field(default_factory=dict)
    """Statements taken whole, by their place in the file."""
    narrowed: dict[int, set[str]] = field(default_factory=dict)
    """Bare imports, by their place in the file: the rendered lines that are in use."""


class Slicer:
    """Slices classes out of one source."""

    def __init__(self, index: SourceIndex) -> None:
        self.index = index
        self._place = {id(s): i for f in index.files.values() for i, s in enumerate(f.statements)}

    def slice(self, cls: ModuleClass) -> tuple[tuple[SlicedFile, ...], tuple[str, ...]]:
        """Return the sliced files, sorted by name, and the top-level packages of others that they import."""
        work = _Work(self.index, self._place)
        work.need(cls.file, cls.qualname)
        work.run()
        files = tuple(_render(self.index.files[name], wanted) for name, wanted in sorted(work.wanted.items()))
        return files, tuple(sorted(work.third_party - {name.split(".")[0] for name in self.index.files}))


class _Work:
    """The state of one slice: a queue of `(file, chain)` still to be found."""

    def __init__(self, index: SourceIndex, place: dict[int, int]) -> None:
        self.index = index
        self.place = place
        self.wanted: dict[str, _Wanted] = {}
        self.third_party: set[str] = set()
        self._queue: deque[tuple[IndexedFile, str]] = deque()
        self._seen: set[tuple[str, str]] = set()

    def need(self, file: IndexedFile, dotted: str) -> None:
        """Ask for a chain to be found from within a file."""
        if (file.name, dotted) not in self._seen:
            self._seen.add((file.name, dotted))
            self._queue.append((file, dotted))

    def run(self) -> None:
        """Find all that was asked for, and what that needs in turn."""
        while self._queue:
            file, dotted = self._queue.popleft()
            root, _, rest = dotted.partition(".")
            wanted = self._file(file)
            statements = file.binders.get(root, [])
            for statement in statements:
                if statement.is_import:
                    self._narrow(file, statement, root, rest, wanted)
                else:
                    self._take(file, statement, wanted)
                    self._attributes(file, statement, root, rest)
            if statements:
                for statement in file.touchers.get(root, []):
                    self._take(file, statement, wanted)
            else:
                self._from_stars(file, dotted, wanted)

    def _file(self, file: IndexedFile) -> _Wanted:
        if file.name not in self.wanted:
            self.wanted[file.name] = _Wanted({self.place[id(s)]: s for s in file.futures})
        return self.wanted[file.name]

    def _take(self, file: IndexedFile, statement: Statement, wanted: _Wanted) -> None:
        place = self.place[id(statement)]
        if place in wanted.whole:
            return
        wanted.whole[place] = statement
        for dotted in statement.needs:
            self.need(file, dotted)
        for item in statement.imports:
            if not item.guarded:
                self._follow(file, item, None)
                for dotted in statement.chains:
                    self._attributes(file, statement, *dotted.split(".", 1))

    def _attributes(self, file: IndexedFile, statement: Statement, root: str, rest: str = "") -> None:
        """Ask for what is read from a name that an import inside a statement binds."""
        for item in statement.imports:
            if item.bound == root and not item.guarded:
                self._follow(file, item, rest)

    def _take_all(self, file: IndexedFile) -> None:
        wanted = self._file(file)
        for statement in file.statements:
            self._take(file, statement, wanted)

    def _narrow(self, file: IndexedFile, statement: Statement, root: str, rest: str, wanted: _Wanted) -> None:
        lines = wanted.narrowed.setdefault(self.place[id(statement)], set())
        for item in statement.imports:
            if item.bound == root:
                lines.add(_import_line(item))
                self._follow(file, item, rest)

    def _from_stars(self, file: IndexedFile, dotted: str, wanted: _Wanted) -> None:
        root, _, rest = dotted.partition(".")
        for origin in self.index.star_origin(file, root):
            for statement, item in file.stars:
                if file.absolute(item) == origin.name:
                    narrowed = Import(item.module, item.level, root, root)
                    wanted.narrowed.setdefault(self.place[id(statement)], set()).add(_import_line(narrowed))
                    self.need(origin, f"{root}.{rest}" if rest else root)
            return
        for statement, item in file.stars:
            if file.absolute(item) not in self.index.files:  # another package may bring any name
                wanted.narrowed.setdefault(self.place[id(statement)], set()).add(_import_line(item))
                self._outside(file.absolute(item))

    def _follow(self, file: IndexedFile, item: Import, rest: str | None) -> None:
        """Ask for what an import brings, `rest` being the attributes read from it; None where it must just succeed."""
        module = file.absolute(item)
        target = self.index.files.get(module)
        if item.name is None:
            whole = module if item.bound != module.split(".")[0] else item.bound
            self._module(whole, rest)
            self._exists(module)
        elif item.name == "*":
            if target is not None:
                self._take_all(target)
            else:
                self._outside(module)
        elif target is not None and self.index.provides(target, item.name):
            self.need(target, f"{item.name}.{rest}" if rest else item.name)
        else:
            self._module(f"{module}.{item.name}" if module else item.name, rest, outside=module)

    def _module(self, name: str, rest: str | None, outside: str = "") -> None:
        """Ask for the attributes `rest` of a module: all when empty (it is passed around), none when None."""
        file = self.index.files.get(name)
        if file is None:
            self._outside(outside or name)
            return
        self._file(file)
        if rest is None:
            return
        head, _, tail = rest.partition(".")
        if not head:
            self._take_all(file)
        elif self.index.provides(file, head):
            self.need(file, rest)
        elif f"{name}.{head}" in self.index.files:
            self._module(f"{name}.{head}", tail)

    def _exists(self, module: str) -> None:
        if module in self.index.files:
            self._file(self.index.files[module])

    def _outside(self, module: str) -> None:
        self.third_party.add(module.split(".")[0])


def _import_line(item: Import) -> str:
    origin = "." * item.level + item.module
    if item.name is None:
        plain = item.bound == item.module.split(".")[0]
        return f"import {item.module}" if plain else f"import {item.module} as {item.bound}"
    if item.name in ("*", item.bound):
        return f"from {origin} import {item.name}"
    return f"from {origin} import {item.name} as {item.bound}"


def _render(file: IndexedFile, wanted: _Wanted) -> SlicedFile:
    statements = []
    for place in sorted({*wanted.whole, *wanted.narrowed}):
        statement = file.statements[place]
        content = statement.text if place in wanted.whole else "\n".join(sorted(wanted.narrowed[place]))
        statements.append((statement.line, content))
    return SlicedFile(name=file.name, package=file.source.package, statements=tuple(statements))
