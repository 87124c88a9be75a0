"""The index of a source: every file's top-level statements, what they bind, and where a name leads across files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import tree_sitter_python
from tree_sitter import Language, Node, Parser

from llmastool.mining.names import Import, binds, chain, chains, field, imports_of, needs, text
from llmastool.mining.sources import SourceFile, SourceTree

_PARSER = Parser(Language(tree_sitter_python.language()))
_IMPORTS = ("import_statement", "import_from_statement")


class Statement:
    """A top-level statement of a file. What it needs is worked out when first asked for."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.line = node.start_point[0] + 1
        """First line, from 1."""

    @cached_property
    def text(self) -> str:
        """Source text."""
        return text(self.node)

    @cached_property
    def binds(self) -> frozenset[str]:
        """Names that it binds in the module."""
        return frozenset(binds(self.node))

    @cached_property
    def needs(self) -> frozenset[str]:
        """Chains that it reads, now or when a function in it runs."""
        return needs(self.node)

    @cached_property
    def chains(self) -> frozenset[str]:
        """Every chain written in it, whatever scope it belongs to."""
        return frozenset(chains(self.node))

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """All imports in it, at any depth."""
        return tuple(imports_of(self.node))

    @property
    def is_import(self) -> bool:
        """Whether it is a bare import, which can be narrowed to the names in use."""
        return self.node.type in _IMPORTS

    @property
    def definition(self) -> Node | None:
        """The class or function that it defines, decorators taken off; None for other statements."""
        node = self.node
        if node.type == "decorated_definition":
            return field(node, "definition")
        return node if node.type in ("class_definition", "function_definition") else None

    @cached_property
    def touches(self) -> str | None:
        """The name whose object it changes without binding it: `X.y = ...`, `X[y] = ...`, `X.append(...)`."""
        if self.node.type != "expression_statement" or not self.node.named_children:
            return None
        inner = self.node.named_children[0]
        if inner.type in ("assignment", "augmented_assignment"):
            target = field(inner, "left")
        elif inner.type == "call":
            target = field(inner, "function")
        else:
            return None
        if target is None or target.type not in ("attribute", "subscript"):
            return None
        while target is not None and target.type in ("attribute", "subscript"):
            target = field(target, "object") or field(target, "value")
        return text(target) if target is not None and target.type == "identifier" else None


class IndexedFile:
    """One parsed file."""

    def __init__(self, source: SourceFile) -> None:
        self.source = source
        self.name = source.module
        tree = _PARSER.parse(source.content)
        self.root = tree.root_node
        self.broken = self.root.has_error
        """Whether the file has a syntax error; what could be parsed around it is still there."""
        self.statements = [Statement(n) for n in self.root.named_children if n.type not in ("comment", "ERROR")]
        self.futures = [s for s in self.statements if s.node.type == "future_import_statement"]

    @cached_property
    def binders(self) -> Mapping[str, list[Statement]]:
        """Statements by the names that they bind."""
        found: dict[str, list[Statement]] = {}
        for statement in self.statements:
            if _is_main_guard(statement.node):
                continue
            for name in statement.binds:
                found.setdefault(name, []).append(statement)
        return found

    @cached_property
    def touchers(self) -> Mapping[str, list[Statement]]:
        """Statements by the name whose object they change."""
        found: dict[str, list[Statement]] = {}
        for statement in self.statements:
            if statement.touches is not None:
                found.setdefault(statement.touches, []).append(statement)
        return found

    @cached_property
    def stars(self) -> list[tuple[Statement, Import]]:
        """All `from ... import *` of the file."""
        return [(s, i) for s in self.statements if "*" in s.text for i in s.imports if i.name == "*"]

    @cached_property
    def exports(self) -> frozenset[str] | None:
        """Names in `__all__`, as far as they are written as literals; None where there is no `__all__`."""
        statements = self.binders.get("__all__", []) + self.touchers.get("__all__", [])
        if not statements:
            return None
        return frozenset(text(n) for s in statements for n in _strings(s.node))

    def absolute(self, item: Import) -> str:
        """Return the absolute dotted module that an import of this file names."""
        if item.level == 0:
            return item.module
        parts = self.name.split(".")
        parts = parts if self.source.package else parts[:-1]
        parts = parts[: len(parts) - (item.level - 1)]
        return ".".join([*parts, item.module] if item.module else parts)


def _is_main_guard(node: Node) -> bool:
    condition = field(node, "condition") if node.type == "if_statement" else None
    return condition is not None and "__name__" in text(condition)


def _strings(node: Node) -> Iterator[Node]:
    if node.type == "string_content":
        yield node
    for child in node.named_children:
        yield from _strings(child)


@dataclass(frozen=True)
class Found:
    """Where a chain leads: a class or other statement of the source, or a dotted name outside of it."""

    file: IndexedFile | None
    """File of the statement; None for what lies outside the source."""
    statement: Statement | None
    """The statement; None for what lies outside the source, and for a module itself."""
    name: str
    """Absolute dotted name."""


class SourceIndex:
    """All files of a source, and the way names take between them."""

    def __init__(self, tree: SourceTree) -> None:
        self.tree = tree
        self.files = {f.module: IndexedFile(f) for f in tree.files}

    def provides(self, file: IndexedFile, name: str) -> bool:
        """Return whether a file binds `name` to something other than its own submodule of that name."""
        own = f"{file.name}.{name}"
        for statement in file.binders.get(name, []):
            imported = {f"{file.absolute(i)}.{i.name}" for i in statement.imports if i.bound == name and i.name}
            if own not in self.files or imported != {own}:
                return True
        return name not in file.binders and bool(self.star_origin(file, name))

    def star_origin(self, file: IndexedFile, name: str, seen: frozenset[str] = frozenset()) -> list[IndexedFile]:
        """Return the files of the source from which a star import of `file` brings `name`."""
        found = []
        for _, item in file.stars:
            origin = self.files.get(file.absolute(item))
            if origin is None or origin.name in seen:
                continue
            hidden = origin.exports is not None and name not in origin.exports
            if hidden or (name.startswith("_") and origin.exports is None):
                continue
            if name in origin.binders or self.star_origin(origin, name, seen | {file.name}):
                found.append(origin)
        return found

    def resolve(self, file: IndexedFile, dotted: str) -> Iterator[Found]:
        """Yield the ends to which a chain read in `file` can lead; more than one where code chooses at run time."""
        yield from self._resolve(file, dotted, frozenset())

    def _resolve(self, file: IndexedFile, dotted: str, seen: frozenset[tuple[str, str]]) -> Iterator[Found]:
        if (file.name, dotted) in seen:
            return
        seen = seen | {(file.name, dotted)}
        root, _, rest = dotted.partition(".")
        statements = file.binders.get(root, [])
        for statement in statements:
            imported = [i for i in statement.imports if i.bound == root]
            if imported:
                for item in imported:
                    yield from self._follow(file, item, rest, seen)
            elif statement.definition is not None:
                yield Found(file, statement, f"{file.name}.{dotted}")
            else:
                alias = _alias(statement.node, root)
                if alias is not None:
                    yield from self._resolve(file, f"{alias}.{rest}" if rest else alias, seen)
                elif statement.node.type in ("if_statement", "try_statement"):
                    yield Found(file, statement, f"{file.name}.{dotted}")
        if not statements:
            for origin in self.star_origin(file, root):
                yield from self._resolve(origin, dotted, seen)
            for _, item in file.stars:
                if file.absolute(item) not in self.files:
                    yield Found(None, None, f"{file.absolute(item)}.{dotted}")

    def _follow(self, file: IndexedFile, item: Import, rest: str, seen: frozenset[tuple[str, str]]) -> Iterator[Found]:
        module = file.absolute(item)
        if item.name is None:
            whole = module if item.bound != module.split(".")[0] or "." not in module else item.bound
            yield from self._module(f"{whole}.{rest}" if rest else whole, seen)
            return
        target = self.files.get(module)
        below = f"{item.name}.{rest}" if rest else item.name
        if target is not None and self.provides(target, item.name):
            yield from self._resolve(target, below, seen)
        else:
            yield from self._module(f"{module}.{below}", seen)

    def _module(self, dotted: str, seen: frozenset[tuple[str, str]]) -> Iterator[Found]:
        """Resolve an absolute dotted name: the longest module of the source, then what is left within it."""
        parts = dotted.split(".")
        for cut in range(len(parts), 0, -1):
            file = self.files.get(".".join(parts[:cut]))
            if file is not None:
                if cut == len(parts):
                    yield Found(file, None, dotted)
                else:
                    yield from self._resolve(file, ".".join(parts[cut:]), seen)
                return
        yield Found(None, None, dotted)


def _alias(node: Node, name: str) -> str | None:
    """Return `b.c` for the statement `name = b.c`."""
    inner = node.named_children[0] if node.type == "expression_statement" and node.named_children else None
    if inner is None or inner.type != "assignment":
        return None
    left, right = field(inner, "left"), field(inner, "right")
    if left is None or right is None or text(left) != name:
        return None
    return chain(right)
