"""Statements that change what others read: entries of registries, and calls that work on what a module defines.

A registry is any object of a module that top-level statements put something into, through a function that changes it
(`@register("block")`) or a method of its own (`@BLOCKS.register()`, `dispatch.register(Tensor)`).
"""

from __future__ import annotations

import builtins
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from tree_sitter import Node

from llmastool.mining.imports import Import
from llmastool.mining.index import SourceIndex
from llmastool.mining.nodes import arguments, chain, field
from llmastool.mining.parsed import IndexedFile
from llmastool.mining.statements import Statement

MAX_ENTRIES = 64
"""Most entries, known by strings, that a registry may have to be sliced along with what reads it. A larger one is a
catalogue of whole networks, of which nobody needs all."""


Key = tuple[str, str]
"""A file's module and a name in it."""


@dataclass(frozen=True)
class Effect:
    """A call at load time: a decorator of a definition, or a statement of its own."""

    file: IndexedFile
    statement: Statement
    function: str
    """Chain of what is called."""
    subjects: tuple[Key, ...]
    """Arguments that are objects of the source."""
    decorates: bool


@dataclass(frozen=True)
class Step:
    """An import that runs when a file is loaded, and the file that it loads in turn."""

    file: IndexedFile
    statement: Statement
    item: Import
    target: IndexedFile


class Effects:
    """All effects of a source, by what they change."""

    def __init__(self, index: SourceIndex) -> None:
        self.index = index
        self._in_file: dict[str, list[Effect]] = {}
        self._imports: dict[str, list[Step]] = {}
        self._routes: dict[str, Mapping[str, Step | None]] = {}

    def of(self, file: IndexedFile) -> list[Effect]:
        """Return the effects of one file, in its order."""
        if file.name not in self._in_file:
            self._in_file[file.name] = [e for s in file.statements if not s.guards_main for e in self._read(file, s)]
        return self._in_file[file.name]

    def _read(self, file: IndexedFile, statement: Statement) -> Iterator[Effect]:
        for node in statement.decorators:
            yield from self._effect(file, statement, node, decorates=True)
        if statement.call is not None:
            yield from self._effect(file, statement, statement.call, decorates=False)

    def _effect(self, file: IndexedFile, statement: Statement, node: Node, *, decorates: bool) -> Iterator[Effect]:
        function = field(node, "function") if node.type == "call" else node
        name = chain(function) if function is not None else None
        if name is None or (hasattr(builtins, name) and name != "setattr"):
            return
        if any(chain(given) == "__name__" for given in arguments(node)):
            return  # it is given the module itself, and can look up anything in it
        subjects = []
        for given in arguments(node) if node.type == "call" else []:
            value = field(given, "value") if given.type == "keyword_argument" else given
            dotted = chain(value) if value is not None else None
            home = self.index.home(file, dotted) if dotted is not None else None
            if home is not None:
                subjects.append((home[0].name, home[1]))
        yield Effect(file, statement, name, tuple(subjects), decorates)

    @cached_property
    def entries(self) -> Mapping[Key, list[Effect]]:
        """Effects by the registry that they add to."""
        found: dict[Key, list[Effect]] = defaultdict(list)
        for file in self.index.files.values():
            for effect in self.of(file):
                for key in self._registries(effect):
                    found[key].append(effect)
        return found

    def _registries(self, effect: Effect) -> set[Key]:
        home = self.index.home(effect.file, effect.function)
        if home is None:
            return set()
        file, name, rest = home
        if rest:
            return {(file.name, name)}
        changed = {n for s in file.binders.get(name, []) for n in s.mutates}
        return {(file.name, n) for n in changed if any(not s.imports for s in file.binders.get(n, []))}

    def loader(self, file: IndexedFile, target: IndexedFile) -> Step | None:
        """Return an import of a file that loads another one, if it has one."""
        return next((step for step in self._steps(file) if step.target is target), None)

    def route(self, start: IndexedFile, target: IndexedFile) -> list[Step] | None:
        """Return the imports by which loading `start` loads `target`; None where it does not."""
        if start.name not in self._routes:
            self._routes[start.name] = self._loads(start)
        routes = self._routes[start.name]
        if target.name not in routes:
            return None
        steps: list[Step] = []
        step = routes[target.name]
        while step is not None:
            steps.append(step)
            step = routes[step.file.name]
        return steps[::-1]

    def _loads(self, start: IndexedFile) -> Mapping[str, Step | None]:
        """Return every file that loading `start` loads, with the step that does it; None for those that need none."""
        found: dict[str, Step | None] = {}
        queue: deque[IndexedFile] = deque()
        for file in self._with_parents(start.name):
            found[file.name] = None
            queue.append(file)
        while queue:
            for step in self._steps(queue.popleft()):
                if step.target.name not in found:
                    found[step.target.name] = step
                    queue.append(step.target)
        return found

    def _steps(self, file: IndexedFile) -> list[Step]:
        """Return all imports that run when a file is loaded, once for each file of the source that they load."""
        if file.name not in self._imports:
            self._imports[file.name] = list(self._read_imports(file))
        return self._imports[file.name]

    def _read_imports(self, file: IndexedFile) -> Iterator[Step]:
        for statement in file.statements:
            for item in statement.imports if statement.definition is None and not statement.guards_main else ():
                module = file.absolute(item)
                below = [f"{module}.{item.name}"] if item.name not in (None, "*") else []
                for name in [module, *below] if not item.guarded else []:
                    yield from (Step(file, statement, item, target) for target in self._with_parents(name))

    def _with_parents(self, module: str) -> list[IndexedFile]:
        parts = module.split(".")
        names = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
        return [self.index.files[name] for name in names if name in self.index.files]
