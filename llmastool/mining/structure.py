"""Which slices are the same code: word for word, or but for the names that they give.

A structure is read from the class outwards: names are numbered in the order in which they are met, and where a name
leads to another definition of the slice, that definition comes next. So neither what a thing is called, nor the file
that it lies in, nor its place in that file makes a difference. Names of Python, of imported libraries and of their
attributes stay, as they say what is done.
"""

from __future__ import annotations

import ast
import builtins
import functools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from llmastool.canonical import digest
from llmastool.mining.bundle import Bundle

_OF_MODULES = frozenset({"forward", "train", "eval", "extra_repr", "reset_parameters", "training"})
"""Names that PyTorch gives a meaning to, so that they are not the source's own."""

_BUILTINS = frozenset(dir(builtins))

_MOST_HOPS = 12
"""Most files that a name is followed through, from import to import."""

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Name:
    """A name within a structure."""

    kind: Literal["variable", "attribute", "parameter"]
    """A variable, an attribute, or a parameter or keyword; the last two may be the source's own."""
    text: str
    root: str = ""
    """Of an attribute, or of a keyword of a call: the variable from which it, or what is called, is reached."""


@dataclass(frozen=True, slots=True)
class _Statement:
    """A top-level statement, read once for all slices that hold it."""

    tokens: tuple[str | _Name, ...]
    binds: frozenset[str]
    """Names that it defines."""
    imports: tuple[tuple[str, int, str, str], ...]
    """For every imported name: the name, dots of a relative import, module, and what is taken from it."""
    own: frozenset[str]
    """Names of attributes, methods and parameters that it defines."""
    only_imports: bool


def exact(bundle: Bundle) -> str:
    """Return a hash that is equal for slices with the same definitions, word for word, whatever file they lie in."""
    statements = (text for file in bundle.files for _, text in file.statements)
    return digest([bundle.qualname, sorted(text for text in statements if not _read(text).only_imports)])


def structure(bundle: Bundle) -> str:
    """Return a hash that is equal for slices that differ only in the names that they give, annotations and layout."""
    return digest(list(_Walk(bundle).tokens()))


class _Walk:
    """A walk through a slice, from its class on."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.files = {f.name: [_read(text) for _, text in f.statements] for f in bundle.files}
        self.packages = {f.name for f in bundle.files if f.package}
        self.scopes = {name: _scope(statements) for name, statements in self.files.items()}
        self.own = frozenset().union(*(s.own for statements in self.files.values() for s in statements))
        self.numbers: dict[Key, str] = {}
        self.left: deque[tuple[str, int]] = deque()
        self.met: set[tuple[str, int]] = set()

    def tokens(self) -> Iterator[str]:
        """Yield the structure: what the class leads to, then the statements that work by their effect."""
        top, *inner = self.bundle.qualname.split(".")
        self._meet(self.bundle.module, top)
        yield from self._reached()
        yield from (self._number(("own", part)) for part in inner)
        for name, statements in self.files.items():
            for place, statement in enumerate(statements):
                if (name, place) not in self.met and not statement.only_imports:
                    self.met.add((name, place))
                    self.left.append((name, place))
                    yield from self._reached()

    def _reached(self) -> Iterator[str]:
        while self.left:
            file, place = self.left.popleft()
            for token in self.files[file][place].tokens:
                yield token if isinstance(token, str) else self._named(token, file, place)

    def _named(self, name: _Name, file: str, place: int) -> str:
        if name.kind != "variable":
            foreign = name.root and not (self._variable(name.root, file) or "#").startswith("#")
            if foreign or name.text not in self.own:
                return name.text
            if name.kind == "attribute":
                return self._number(("own", name.text))
            where = self._place(name.root, file) or (file, place)
            return self._number(("parameter", where[0], str(where[1]), name.text))
        return self._variable(name.text, file) or (
            name.text if name.text in _BUILTINS else self._number(("local", file, str(place), name.text))
        )

    def _variable(self, name: str, file: str) -> str | None:
        """Return what a name of a file's scope stands for, None where it is of no file."""
        found = self._followed(name, file)
        if not isinstance(found, tuple):
            return found
        kind, *where = found
        if kind == "top":
            self._meet(*where)
        return self._number(found)

    def _place(self, name: str, file: str) -> tuple[str, int] | None:
        """Return where a name is defined in the slice, None where it is not."""
        found = self._followed(name, file)
        if not isinstance(found, tuple) or found[0] != "top":
            return None
        places = self.scopes[found[1]][found[2]]
        assert isinstance(places, list)
        return found[1], places[0]

    def _followed(self, name: str, file: str) -> Key | str | None:
        """Follow a name from import to import.

        Returns:
            The key of a definition of the slice, or of a file of it; the dotted name of what is imported from
            elsewhere; None where the name is of no file.
        """
        for _ in range(_MOST_HOPS):
            found = self.scopes[file].get(name)
            if found is None:
                return None
            if isinstance(found, list):
                return "top", file, name
            level, module, taken = found
            target = _absolute(file, level, module, file in self.packages)
            inner = f"{target}.{taken}" if taken else target
            if inner in self.files:
                return "file", inner
            if target not in self.files:
                return inner
            file, name = target, taken
        return None

    def _meet(self, file: str, name: str) -> None:
        found = self.scopes.get(file, {}).get(name)
        for place in found if isinstance(found, list) else ():
            if (file, place) not in self.met:
                self.met.add((file, place))
                self.left.append((file, place))

    def _number(self, key: Key) -> str:
        return self.numbers.setdefault(key, f"#{len(self.numbers)}")


_Scope = dict[str, "list[int] | tuple[int, str, str]"]
"""What the names of a file stand for: the places of the statements that define them, or an import."""


def _scope(statements: list[_Statement]) -> _Scope:
    scope: _Scope = {}
    for place, statement in enumerate(statements):
        for name, *where in statement.imports:
            scope.setdefault(name, (where[0], where[1], where[2]))  # type: ignore[arg-type]
        for name in statement.binds:
            known = scope.setdefault(name, [])
            if isinstance(known, list):
                known.append(place)
    return scope


def _absolute(file: str, level: int, module: str, package: bool) -> str:
    if not level:
        return module
    parts = file.split(".")
    base = parts[: len(parts) - level + package]
    return ".".join([*base, *([module] if module else [])])


@functools.cache
def _read(text: str) -> _Statement:
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError):
        return _Statement((text,), frozenset(), (), frozenset(), only_imports=False)
    tokens: list[str | _Name] = []
    own: set[str] = set()
    for node in body:
        _write(node, tokens, own)
    binds, imports = set[str](), list[tuple[str, int, str, str]]()
    for node in body:
        _bindings(node, binds, imports)
    only = all(isinstance(node, ast.Import | ast.ImportFrom) for node in body)
    return _Statement(tuple(tokens), frozenset(binds), tuple(imports), frozenset(own - _OF_MODULES), only)


def _bindings(node: ast.stmt, binds: set[str], imports: list[tuple[str, int, str, str]]) -> None:
    """Collect what a statement defines in its file, in all branches of an `if` or `try`."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        binds.add(node.name)
    elif isinstance(node, ast.ImportFrom):
        imports += [(a.asname or a.name, node.level, node.module or "", a.name) for a in node.names]
    elif isinstance(node, ast.Import):
        imports += [(a.asname or a.name.split(".")[0], 0, a.name if a.asname else a.name.split(".")[0], "")
                    for a in node.names]  # fmt: skip
    else:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt | ast.ExceptHandler):
                _bindings(child, binds, imports)  # type: ignore[arg-type]
            elif not isinstance(child, ast.Attribute | ast.Subscript):
                binds |= {n.id for n in ast.walk(child) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _write(node: ast.AST, tokens: list[str | _Name], own: set[str]) -> None:
    """Write a node and all that it holds, annotations and documentation left out."""
    if isinstance(node, ast.Name):
        tokens.append(_Name("variable", node.id))
        return
    if isinstance(node, ast.Constant):
        tokens.append(repr(node.value))
        return
    tokens.append(type(node).__name__)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, ast.arg):
        own.add(node.arg)
        tokens += [_Name("parameter", node.arg), _Name("variable", node.arg)]
        return
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        if not node.name.startswith("__"):
            own.add(node.name)
        tokens += [_Name("attribute", node.name), _Name("variable", node.name)]
        fields = {k: v for k, v in fields.items() if k not in ("name", "returns", "type_params", "type_comment")}
        fields["body"] = _undocumented(node.body)
    elif isinstance(node, ast.AnnAssign):
        if isinstance(node.target, ast.Name):
            own.add(node.target.id)
            tokens += [_Name("attribute", node.target.id), _Name("parameter", node.target.id)]
        fields = {"target": node.target, "value": node.value}
    elif isinstance(node, ast.Attribute):
        if isinstance(node.ctx, ast.Store):
            own.add(node.attr)
        fields["attr"] = _Name("attribute", node.attr, _root(node))
    elif isinstance(node, ast.Call):
        fields["keywords"] = [
            [_Name("parameter", k.arg, _root(node.func)) if k.arg is not None else "**", k.value] for k in node.keywords
        ]
    for value in fields.values():
        _write_value(value, tokens, own)
    tokens.append(")")


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _write_value(value: object, tokens: list[str | _Name], own: set[str]) -> None:
    if isinstance(value, list):
        tokens.append("[")
        for part in value:
            _write_value(part, tokens, own)
        tokens.append("]")
    elif isinstance(value, ast.expr_context) or value is None:
        return
    elif isinstance(value, ast.AST):
        _write(value, tokens, own)
    else:
        tokens.append(value if isinstance(value, _Name) else repr(value))


def _undocumented(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return body[1:] if documented and len(body) > 1 else body
