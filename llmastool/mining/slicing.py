"""Slice a class: the top-level statements, over all files of its source, that it needs in order to be defined and run.

Whole statements are taken, so that an `if` or `try` around a definition survives. Bare imports are narrowed to the
names in use. An import of a file that the source does not have is kept: it fails when loaded, as it would have.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable

from llmastool.mining.classes import ModuleClass
from llmastool.mining.cuts import Cut, Wanted, render
from llmastool.mining.effects import MAX_ENTRIES, Effect, Effects, Key, Step
from llmastool.mining.imports import Import
from llmastool.mining.index import SourceIndex
from llmastool.mining.parsed import IndexedFile
from llmastool.mining.statements import Statement


class Slicer:
    """Slices classes, functions and whole files out of one source."""

    def __init__(self, index: SourceIndex) -> None:
        self.index = index
        self.effects = Effects(index)
        self._place = {id(s): i for f in index.files.values() for i, s in enumerate(f.statements)}
        self._tops = {name.split(".")[0] for name in index.files}

    def slice(self, cls: ModuleClass) -> Cut:
        """Cut out a class."""
        return self.cut(cls.file, [cls.qualname])

    def cut(self, file: IndexedFile, names: Iterable[str]) -> Cut:
        """Cut out what the given chains, read within `file`, need."""
        work = _Work(self.index, self.effects, self._place, file)
        for name in names:
            work.need(file, name)
        return self._finish(work)

    def cut_file(self, file: IndexedFile) -> Cut:
        """Cut out a whole file; one that is not in the index is sliced as if it were there."""
        place = self._place | {id(s): i for i, s in enumerate(file.statements)}
        work = _Work(self.index, self.effects, place, file)
        work.take_all(file)
        return self._finish(work)

    def _finish(self, work: _Work) -> Cut:
        work.run()
        files = tuple(render(work.file_of(name), wanted) for name, wanted in sorted(work.wanted.items()))
        taken = frozenset(id(s) for wanted in work.wanted.values() for s in wanted.whole.values())
        return Cut(files, tuple(sorted(work.third_party - self._tops)), taken)


class _Work:
    """The state of one slice: a queue of `(file, chain, read)` still to be found.

    `read` is False where a name is only used to add to an object, as a decorator that registers does. What others add
    to an object is taken along only if something reads it.
    """

    def __init__(self, index: SourceIndex, effects: Effects, place: dict[int, int], start: IndexedFile) -> None:
        self.index = index
        self.effects = effects
        self.place = place
        self.start = start
        self.wanted: dict[str, Wanted] = {}
        self.third_party: set[str] = set()
        self._queue: deque[tuple[IndexedFile, str, bool]] = deque()
        self._seen: set[tuple[str, str, bool]] = set()
        self._read: set[Key] = set()

    def file_of(self, name: str) -> IndexedFile:
        """Return a file that is wanted."""
        return self.start if name == self.start.name else self.index.files[name]

    def need(self, file: IndexedFile, dotted: str, read: bool = True) -> None:
        """Ask for a chain to be found from within a file."""
        if (file.name, dotted, read) not in self._seen and (file.name, dotted, True) not in self._seen:
            self._seen.add((file.name, dotted, read))
            self._queue.append((file, dotted, read))

    def run(self) -> None:
        """Find all that was asked for, and what that needs in turn, until nothing is missing."""
        taken = -1
        while self._queue or taken < self._taken():
            while self._queue:
                self._find(*self._queue.popleft())
            taken = self._taken()
            self._add_effects()

    def _taken(self) -> int:
        return sum(len(wanted.whole) for wanted in self.wanted.values())

    def _find(self, file: IndexedFile, dotted: str, read: bool) -> None:
        root, _, rest = dotted.partition(".")
        self._file(file)
        statements = file.binders.get(root, [])
        for statement in statements:
            if statement.is_import:
                self._narrow(file, statement, root, rest, read)
            else:
                self.take(file, statement, read)
                self._attributes(file, statement, root, rest)
                if read:
                    self._read.add((file.name, root))
        if statements:
            for statement in file.touchers.get(root, []):
                self.take(file, statement)
        elif not self._from_stars(file, dotted, read):
            for statement in [*file.dynamic_binders(root), *file.binders.get("__getattr__", [])]:
                self.take(file, statement)

    def _file(self, file: IndexedFile) -> Wanted:
        if file.name not in self.wanted:
            self.wanted[file.name] = Wanted({self.place[id(s)]: s for s in file.futures})
        return self.wanted[file.name]

    def take(self, file: IndexedFile, statement: Statement, read: bool = True) -> None:
        """Take a statement whole, and ask for what it needs; `read` is False for a function that only adds."""
        wanted, place = self._file(file), self.place[id(statement)]
        if read:
            for dotted in statement.needs if statement.mutates else ():
                if dotted.partition(".")[0] in statement.mutates:
                    self.need(file, dotted)
        if place in wanted.whole:
            return
        wanted.whole[place] = statement
        for dotted in statement.needs:
            root = dotted.partition(".")[0]
            only_adds = dotted in statement.adds_to or root in statement.binds or root in statement.mutates
            self.need(file, dotted, not only_adds)
        for pattern in statement.lookups:
            self._look_up(file, pattern)
        imports = [i for i in statement.imports if not i.guarded]
        for item in imports:
            self._follow(file, item, None)
        if imports:
            for dotted in statement.chains:
                self._attributes(file, statement, *dotted.split(".", 1))

    def _look_up(self, file: IndexedFile, pattern: str) -> None:
        """Ask for every name of a file, of its star imports too, that a regular expression matches."""
        origins = [o for _, i in file.stars if (o := self.index.files.get(file.absolute(i))) is not None]
        names = {n for n in file.binders if not n.startswith("__")}
        names |= {n for o in origins for n in o.binders if self.index.exports(o, n)}
        for name in sorted(names):
            if re.fullmatch(pattern, name):
                self.need(file, name)

    def _attributes(self, file: IndexedFile, statement: Statement, root: str, rest: str = "") -> None:
        """Ask for what is read from a name that an import inside a statement binds."""
        for item in statement.imports:
            if item.bound == root and not item.guarded:
                self._follow(file, item, rest)

    def take_all(self, file: IndexedFile) -> None:
        """Take every statement of a file."""
        for statement in file.statements:
            self.take(file, statement)

    def _narrow(self, file: IndexedFile, statement: Statement, root: str, rest: str, read: bool) -> None:
        for item in statement.imports:
            if item.bound == root:
                self._line(file, statement, item)
                self._follow(file, item, rest, read)

    def _line(self, file: IndexedFile, statement: Statement, item: Import) -> None:
        self._file(file).narrowed.setdefault(self.place[id(statement)], set()).add(item)

    def _from_stars(self, file: IndexedFile, dotted: str, read: bool) -> bool:
        """Ask the star imports for a name; return whether one of the source brings it."""
        root = dotted.partition(".")[0]
        origins = {o.name: o for o in self.index.star_origin(file, root)}
        for statement, item in file.stars:
            origin = origins.get(file.absolute(item))
            if origin is not None:
                self._line(file, statement, Import(item.module, item.level, root, root))
                self.need(origin, dotted, read)
        if origins:
            return True
        for statement, item in file.stars:
            if file.absolute(item) not in self.index.files:  # another package may bring any name
                self._line(file, statement, item)
                self._outside(file.absolute(item))
        return False

    def _follow(self, file: IndexedFile, item: Import, rest: str | None, read: bool = True) -> None:
        """Ask for what an import brings, `rest` being the attributes read from it; None where it must just succeed."""
        module = file.absolute(item)
        target = self.index.files.get(module)
        if item.name is None:
            self._module(module if item.bound != module.split(".")[0] else item.bound, rest, read)
            if target is not None:
                self._file(target)
        elif item.name == "*":
            if target is not None:
                self.take_all(target)
            else:
                self._outside(module)
        elif target is not None and self.index.provides(target, item.name):
            self.need(target, f"{item.name}.{rest}" if rest else item.name, read)
        else:
            self._module(f"{module}.{item.name}" if module else item.name, rest, read, outside=module)

    def _module(self, name: str, rest: str | None, read: bool = True, outside: str = "") -> None:
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
            self.take_all(file)
        elif self.index.provides(file, head):
            self.need(file, rest, read)
        elif f"{name}.{head}" in self.index.files:
            step = self.effects.loader(file, self.index.files[f"{name}.{head}"])
            if step is not None:  # the package loads its submodule; an attribute alone would not
                self._walk_step(step, frozenset({head, tail.partition(".")[0]}))
            self._module(f"{name}.{head}", tail, read)

    def _outside(self, module: str) -> None:
        self.third_party.add(module.split(".")[0])

    def _add_effects(self) -> None:
        """Take what adds to registries that are read, and calls on objects that are all in the slice."""
        for key in sorted(self._read & self.effects.entries.keys()):
            entries = self.effects.entries[key]
            unnamed = sum(not e.subjects for e in entries)
            for effect in entries:
                if (self._has(effect.subjects) if effect.subjects else unnamed <= MAX_ENTRIES) and self._reach(effect):
                    self.take(effect.file, effect.statement)
        for name in list(self.wanted):
            file = self.file_of(name)
            for effect in self.effects.of(file):
                if effect.subjects and not effect.decorates and self._has(effect.subjects):
                    self.take(file, effect.statement)

    def _has(self, subjects: Iterable[Key]) -> bool:
        for module, name in subjects:
            wanted = self.wanted.get(module)
            statements = self.file_of(module).binders.get(name, []) if wanted is not None else []
            if wanted is None or not any(self.place[id(s)] in wanted.whole for s in statements):
                return False
        return True

    def _reach(self, effect: Effect) -> bool:
        """Make sure that the file of an effect is loaded, by the imports of the source; return whether it can be."""
        if effect.file.name in self.wanted:
            return True
        steps = self.effects.route(self.start, effect.file)
        if steps is None:
            return False
        names = effect.statement.binds
        for step in reversed(steps):
            names = self._walk_step(step, names)
        return True

    def _walk_step(self, step: Step, names: frozenset[str]) -> frozenset[str]:
        """Keep one import of a route, of one of `names` where it can be; return the names that it binds."""
        if not step.statement.is_import:
            self.take(step.file, step.statement)
            return step.statement.binds
        module = step.file.absolute(step.item)
        items = [i for i in step.statement.imports if step.file.absolute(i) == module and i.name not in ("*", None)]
        item = next((i for i in items if i.name in names), step.item)
        if item.name == "*":
            name = min(names, default="__name__")
            item = Import(item.module, item.level, name, name)
        self._line(step.file, step.statement, item)
        self._follow(step.file, item, None)
        return frozenset({item.bound})
