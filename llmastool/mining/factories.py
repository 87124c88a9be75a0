"""Factories: functions of a source that can be called with nothing and build its modules, `resnet18()` and the like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tree_sitter import Node

from llmastool.mining.bundle import Program
from llmastool.mining.cuts import Cut
from llmastool.mining.index import SourceIndex
from llmastool.mining.names import FUNCTIONS
from llmastool.mining.nodes import field, text, walk
from llmastool.mining.parsed import IndexedFile
from llmastool.mining.slicing import Slicer
from llmastool.mining.statements import Statement

COVER = 3
"""Most factories that are kept for the sake of one class."""
_OPEN = frozenset({"list_splat_pattern", "dictionary_splat_pattern"})
_FREE = frozenset({"default_parameter", "typed_default_parameter", "keyword_separator", "positional_separator"})


@dataclass(frozen=True)
class _Function:
    file: IndexedFile
    name: str
    statement: Statement

    @cached_property
    def size(self) -> tuple[int, str]:
        """The sum of its constants, and its name: of two networks of a kind, the smaller comes first."""
        values = [text(n) for n in walk(self.statement.node) if n.type == "integer"]
        return sum(int(v) for v in values if v.isdecimal()), self.name

    @property
    def kind(self) -> tuple[str, frozenset[str]]:
        """What functions have in common whose slices differ in nothing but themselves."""
        return self.file.name, self.statement.needs - {self.name}


@dataclass(frozen=True)
class _Candidate:
    function: _Function
    cut: Cut
    classes: tuple[str, ...]

    @property
    def price(self) -> tuple[int, int, str, str]:
        """What it needs beyond itself, then its size."""
        own = self.function.statement.slim.count("\n") + 1
        total, name = self.function.size
        return self.cut.lines - own, total, self.function.file.name, name


def find_factories(
    index: SourceIndex, slicer: Slicer, classes: Mapping[int, Sequence[str]], files: Collection[str]
) -> list[Program]:
    """Return the factories that cover the mined classes, at most `COVER` for each, the smallest slices first.

    Args:
        index: The source.
        slicer: Its slicer.
        classes: Names of the mined classes by the `id` of the statement that defines them.
        files: Modules of the files in which factories are looked for.
    """
    kinds: dict[tuple[str, frozenset[str]], list[_Function]] = {}
    for module in files:
        for function in _functions(index.files[module]):
            kinds.setdefault(function.kind, []).append(function)
    candidates = []
    for alike in kinds.values():
        for function in sorted(alike, key=lambda f: f.size)[:COVER]:
            cut = slicer.cut(function.file, [function.name])
            reached = classes_in(cut, classes)
            if not reached:
                break
            candidates.append(_Candidate(function, cut, reached))
    return [
        Program(
            name=f"{c.function.file.name}.{c.function.name}",
            kind="factory",
            module=c.function.file.name,
            files=c.cut.files,
            classes=c.classes,
            third_party=c.cut.third_party,
        )
        for c in _cover(candidates)
    ]


def classes_in(cut: Cut, classes: Mapping[int, Sequence[str]]) -> tuple[str, ...]:
    """Return the names of the mined classes whose definitions are in a slice, sorted."""
    return tuple(sorted(name for statement in cut.taken & classes.keys() for name in classes[statement]))


def _cover(candidates: Collection[_Candidate]) -> Iterator[_Candidate]:
    count: Counter[str] = Counter()
    for candidate in sorted(candidates, key=lambda c: c.price):
        if any(count[name] < COVER for name in candidate.classes):
            count.update(candidate.classes)
            yield candidate


def _functions(file: IndexedFile) -> Iterator[_Function]:
    """Yield the functions of a file that look like factories; of several of one name, the last."""
    found: dict[str, Statement] = {}
    for statement in file.statements:
        node = statement.definition
        label = field(node, "name") if node is not None and node.type == "function_definition" else None
        if node is not None and label is not None:
            found.pop(text(label), None)
            if _is_factory(statement, node, text(label)):
                found[text(label)] = statement
    yield from (_Function(file, name, statement) for name, statement in found.items())


def _is_factory(statement: Statement, node: Node, name: str) -> bool:
    parameters = field(node, "parameters")
    decorated = " ".join(text(d) for d in statement.decorators)
    if name.startswith("test_") or "fixture" in decorated or decorated == "property" or parameters is None:
        return False
    if not all(_is_free(p) for p in parameters.named_children) or text(node).startswith("async"):
        return False
    body = field(node, "body")
    return body is not None and _returns_value(body)


def _is_free(parameter: Node) -> bool:
    """Return whether a call can leave a parameter out."""
    if parameter.type == "typed_parameter":
        return parameter.named_children[0].type in _OPEN
    return parameter.type in _FREE or parameter.type in _OPEN or parameter.type == "comment"


def _returns_value(body: Node) -> bool:
    """Return whether a function gives something back that it computed: `return f(...)`, `return net`, not `True`."""
    plain = {"none", "true", "false", "integer", "float", "string"}
    returns = (n for n in walk(body, stop=FUNCTIONS | {"class_definition"}) if n.type == "return_statement")
    return any(r.named_children and r.named_children[0].type not in plain for r in returns)
