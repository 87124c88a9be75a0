"""Which names a piece of Python binds and which it needs, by walking a tree-sitter tree with Python's scope rules.

A *chain* is a name with the attributes read from it, `nn.functional.relu`; its first part is the name that has to be
found. Only functions, lambdas and comprehensions hide names: what a class body binds is not seen by its methods, so a
name read in a class body counts as needed even if the body binds it too (complete before minimal).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tree_sitter import Node

from llmastool.mining.imports import imports_of
from llmastool.mining.nodes import arguments, chain, field, literal, text, unroll, walk

FUNCTIONS = frozenset({"function_definition", "lambda"})
COMPREHENSIONS = frozenset(
    {"list_comprehension", "set_comprehension", "dictionary_comprehension", "generator_expression"}
)
DEFINITIONS = frozenset({"function_definition", "class_definition"})
IMPORTS = frozenset({"import_statement", "import_from_statement"})
_TARGET = {
    "assignment": "left",
    "augmented_assignment": "left",
    "for_statement": "left",
    "named_expression": "name",
    "type_alias_statement": "left",
}
"""Kinds of node that bind, and the field that holds what they bind."""
_SILENT = IMPORTS | {"future_import_statement", "global_statement", "nonlocal_statement", "comment"}
"""Kinds of node that read no name."""
BLIND = frozenset({"property", "staticmethod", "classmethod"})
"""Decorators that do not look at annotations or docstrings of what they decorate."""


def binds(node: Node) -> Iterator[str]:
    """Yield the names that a node binds in the scope in which it stands, nested scope left out."""
    stack = [node]
    while stack:
        node = stack.pop()
        kind = node.type
        if kind in DEFINITIONS:
            name = field(node, "name")
            yield from _targets(name) if name is not None else ()
        elif kind in IMPORTS:
            yield from (i.bound for i in imports_of(node) if i.bound)
        elif kind == "lambda" or kind in COMPREHENSIONS:
            yield from _walrus(node)
        elif kind == "as_pattern_target":
            yield from _targets(node)
        else:
            target = field(node, _TARGET[kind]) if kind in _TARGET else None
            yield from _targets(target) if target is not None else ()
            stack.extend(child for child in node.named_children if child != target)


def _walrus(node: Node) -> Iterator[str]:
    for child in node.named_children:
        for inner in walk(child, stop=FUNCTIONS):
            name = field(inner, "name") if inner.type == "named_expression" else None
            yield from _targets(name) if name is not None else ()


def _targets(node: Node) -> Iterator[str]:
    for inner in walk(node, stop=frozenset({"attribute", "subscript"})):
        if inner.type == "identifier":
            yield text(inner)


def chains(node: Node) -> Iterator[str]:
    """Yield every chain that is written within a node, whatever scope it belongs to."""
    stack = [node]
    while stack:
        node = stack.pop()
        name = chain(node)
        if name is not None:
            yield name
        elif node.type == "attribute":
            stack.append(unroll(node)[0])
        elif node.type not in _SILENT:
            stack.extend(node.named_children)


def needs(node: Node, *, lazy: bool = False) -> frozenset[str]:
    """Return the chains that a node reads from the scope around it, now or when a function in it runs.

    Args:
        node: Any node.
        lazy: Whether the file has `from __future__ import annotations`: annotations are not evaluated then, and count
            only where a decorator or a class could look at them.
    """
    reader = _Reader(lazy)
    reader.read(node)
    return frozenset(reader.found)


@dataclass(frozen=True)
class _Scope:
    """Names that a function or comprehension hides, and the scope around it: entering one costs its own names only."""

    names: frozenset[str]
    outer: _Scope | None


class _Reader:
    """Walks one statement."""

    def __init__(self, lazy: bool) -> None:
        self.lazy = lazy
        self.found: set[str] = set()
        self._stack: list[tuple[Node, _Scope | None, bool]] = []

    def read(self, node: Node) -> None:
        """Collect what `node` reads."""
        self._push(node, None, False)
        while self._stack:
            self._visit(*self._stack.pop())

    def _push(self, node: Node | None, scope: _Scope | None, local: bool) -> None:
        if node is not None:
            self._stack.append((node, scope, local))

    def _name(self, root: str, name: str, scope: _Scope | None) -> None:
        while scope is not None:
            if root in scope.names:
                return
            scope = scope.outer
        self.found.add(name)

    def _visit(self, node: Node, scope: _Scope | None, local: bool) -> None:
        """Read one node; `local` says whether it runs in a function's own scope."""
        kind = node.type
        if kind in ("identifier", "attribute", "dotted_name"):
            root, parts = unroll(node)
            if root.type in ("identifier", "dotted_name"):
                name = ".".join([text(root), *parts])
                self._name(name.split(".")[0], name, scope)
            else:
                self._push(root, scope, local)
        elif kind in FUNCTIONS:
            self._function(node, scope, local, seen=False)
        elif kind == "decorated_definition":
            self._decorated(node, scope, local)
        elif kind == "class_definition":
            for part in ("superclasses", "body"):
                self._push(field(node, part), scope, False)
        elif kind in COMPREHENSIONS:
            self._comprehension(node, scope, local)
        elif kind == "keyword_argument":
            self._push(field(node, "value"), scope, local)
        elif kind == "assignment":
            self._assignment(node, scope, local)
        elif kind == "call" and self._literal_getattr(node, scope, local):
            return
        elif kind not in _SILENT:
            self._children(node, scope, local)

    def _children(self, node: Node, scope: _Scope | None, local: bool) -> None:
        self._stack.extend((child, scope, local) for child in node.named_children)

    def _assignment(self, node: Node, scope: _Scope | None, local: bool) -> None:
        """Annotations of variables never run within a function (PEP 526)."""
        for part in ("left", "right") if local else ("left", "right", "type"):
            self._push(field(node, part), scope, local)

    def _decorated(self, node: Node, scope: _Scope | None, local: bool) -> None:
        definition = field(node, "definition")
        decorators = [c for c in node.named_children if c.type == "decorator"]
        seen = any(text(d).lstrip("@").strip() not in BLIND for d in decorators)
        for decorator in decorators:
            self._push(decorator, scope, local)
        if definition is not None and definition.type == "function_definition":
            self._function(definition, scope, local, seen=seen)
        else:
            self._push(definition, scope, local)

    def _function(self, node: Node, scope: _Scope | None, local: bool, *, seen: bool) -> None:
        """Defaults and annotations are read outside the function, its body inside; `seen` by a decorator or not."""
        parameters, body = field(node, "parameters"), field(node, "body")
        names: set[str] = set()
        annotated = seen or not self.lazy
        for parameter in parameters.named_children if parameters is not None else ():
            self._push(field(parameter, "value"), scope, local)
            if annotated:
                self._push(field(parameter, "type"), scope, local)
            names.update(_parameter_names(parameter))
        if annotated:
            self._push(field(node, "return_type"), scope, local)
        if body is not None:
            names.update(binds(body))
            names -= _declared_global(body)
            self._push(body, _Scope(frozenset(names), scope), True)

    def _comprehension(self, node: Node, scope: _Scope | None, local: bool) -> None:
        """All but the first iterable is read inside."""
        clauses = [c for c in node.named_children if c.type == "for_in_clause"]
        targets = [left for c in clauses if (left := field(c, "left")) is not None]
        inner = _Scope(frozenset(name for target in targets for name in _targets(target)), scope)
        first = clauses[0].children_by_field_name("right") if clauses else []
        for part in first:
            self._push(part, scope, local)
        for child in node.named_children:
            if clauses and child == clauses[0]:
                for part in child.named_children:
                    if part not in first:
                        self._push(part, inner, local)
            else:
                self._push(child, inner, local)

    def _literal_getattr(self, node: Node, scope: _Scope | None, local: bool) -> bool:
        """Read `getattr(a.b, "c")` as `a.b.c`."""
        function, given = field(node, "function"), arguments(node)
        if function is None or len(given) < 2 or function.type != "identifier" or text(function) != "getattr":
            return False
        owner, attribute = chain(given[0]), literal(given[1])
        if owner is None or not attribute or not attribute.isidentifier():
            return False
        self._name(owner.split(".")[0], f"{owner}.{attribute}", scope)
        for rest in given[2:]:
            self._push(rest, scope, local)
        return True


def _parameter_names(parameter: Node) -> Iterator[str]:
    name = field(parameter, "name")
    if name is None and parameter.type == "typed_parameter":
        name = parameter.named_children[0]
    for inner in walk(name if name is not None else parameter):
        if inner.type == "identifier":
            yield text(inner)


def _declared_global(node: Node) -> set[str]:
    statements = (n for n in walk(node, stop=FUNCTIONS) if n.type == "global_statement")
    return {text(child) for statement in statements for child in statement.named_children}
