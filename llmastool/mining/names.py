"""Which names a piece of Python binds and which it needs, by walking a tree-sitter tree with Python's scope rules.

A *chain* is a name with the attributes read from it, `nn.functional.relu`; its first part is the name that has to be
found. Only functions, lambdas and comprehensions hide names: what a class body binds is not seen by its methods, so a
name read in a class body counts as needed even if the body binds it too (complete before minimal).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tree_sitter import Node

FUNCTIONS = frozenset({"function_definition", "lambda"})
COMPREHENSIONS = frozenset(
    {"list_comprehension", "set_comprehension", "dictionary_comprehension", "generator_expression"}
)
_DEFINITIONS = frozenset({"function_definition", "class_definition"})
_TARGET = {"assignment": "left", "augmented_assignment": "left", "for_statement": "left", "named_expression": "name"}
"""Kinds of node that bind, and the field that holds what they bind."""
_SILENT = frozenset({"import_statement", "import_from_statement", "global_statement", "nonlocal_statement", "comment"})
"""Kinds of node that read no name."""


def text(node: Node) -> str:
    """Return a node's source text."""
    raw = node.text
    assert raw is not None
    return raw.decode("utf-8", "replace")


def field(node: Node, name: str) -> Node | None:
    """Return the child of a node under a field name of the grammar."""
    return node.child_by_field_name(name)


@dataclass(frozen=True)
class Import:
    """One name that an import statement brings in."""

    module: str
    """Dotted module as written, without leading dots."""
    level: int
    """Number of leading dots."""
    name: str | None
    """Name taken from the module; None for `import module`; `*` for all."""
    bound: str
    """Name that it binds; empty for `*`."""
    guarded: bool = False
    """Whether it stands under `if TYPE_CHECKING`, and so never runs."""


def imports_of(node: Node, *, guarded: bool = False) -> Iterator[Import]:
    """Yield every import within a node, at any depth."""
    if node.type == "import_statement":
        yield from _plain_imports(node, guarded)
    elif node.type == "import_from_statement":
        yield from _from_imports(node, guarded)
    elif node.type == "if_statement":
        condition = field(node, "condition")
        typing_only = condition is not None and text(condition).endswith("TYPE_CHECKING")
        for child in node.named_children:
            yield from imports_of(child, guarded=guarded or (typing_only and child == field(node, "consequence")))
    else:
        for child in node.named_children:
            yield from imports_of(child, guarded=guarded)


def _plain_imports(node: Node, guarded: bool) -> Iterator[Import]:
    for item in node.named_children:
        if item.type == "aliased_import":
            name, alias = field(item, "name"), field(item, "alias")
            assert name is not None and alias is not None
            yield Import(text(name), 0, None, text(alias), guarded)
        elif item.type == "dotted_name":
            yield Import(text(item), 0, None, text(item).split(".")[0], guarded)


def _from_imports(node: Node, guarded: bool) -> Iterator[Import]:
    origin = field(node, "module_name")
    if origin is None:
        return
    written = text(origin)
    module = written.lstrip(".").strip()
    level = len(written) - len(written.lstrip("."))
    for item in node.named_children:
        if item == origin:
            continue
        if item.type == "wildcard_import":
            yield Import(module, level, "*", "", guarded)
        elif item.type == "aliased_import":
            name, alias = field(item, "name"), field(item, "alias")
            assert name is not None and alias is not None
            yield Import(module, level, text(name), text(alias), guarded)
        elif item.type == "dotted_name":
            yield Import(module, level, text(item), text(item), guarded)


def binds(node: Node) -> Iterator[str]:
    """Yield the names that a node binds in the scope in which it stands, nested scopes left out."""
    kind = node.type
    if kind in _DEFINITIONS:
        name = field(node, "name")
        yield from _targets(name) if name is not None else ()
    elif kind in ("import_statement", "import_from_statement"):
        yield from (i.bound for i in imports_of(node) if i.bound)
    elif kind == "lambda" or kind in COMPREHENSIONS:
        yield from _walrus(node)
    elif kind == "as_pattern_target":
        yield from _targets(node)
    else:
        target = field(node, _TARGET[kind]) if kind in _TARGET else None
        yield from _targets(target) if target is not None else ()
        for child in node.named_children:
            if child != target:
                yield from binds(child)


def _walrus(node: Node) -> Iterator[str]:
    for child in node.named_children:
        if child.type == "named_expression":
            yield from binds(child)
        elif child.type not in FUNCTIONS:
            yield from _walrus(child)


def _targets(node: Node) -> Iterator[str]:
    if node.type == "identifier":
        yield text(node)
    elif node.type not in ("attribute", "subscript"):
        for child in node.named_children:
            yield from _targets(child)


def _identifiers(node: Node) -> Iterator[str]:
    if node.type == "identifier":
        yield text(node)
    for child in node.named_children:
        yield from _identifiers(child)


def chain(node: Node) -> str | None:
    """Return `a.b.c` for a name or a chain of attributes of a name, else None."""
    if node.type == "identifier":
        return text(node)
    if node.type == "attribute":
        value, attribute = field(node, "object"), field(node, "attribute")
        below = chain(value) if value is not None else None
        return f"{below}.{text(attribute)}" if below is not None and attribute is not None else None
    return None


def chains(node: Node) -> Iterator[str]:
    """Yield every chain that is written within a node, whatever scope it belongs to."""
    name = chain(node)
    if name is not None:
        yield name
    elif node.type not in _SILENT:
        for child in node.named_children:
            yield from chains(child)


def needs(node: Node) -> frozenset[str]:
    """Return the chains that a node reads from the scope around it."""
    found: set[str] = set()
    _needs(node, frozenset(), found)
    return frozenset(found)


def _needs(node: Node, hidden: frozenset[str], found: set[str]) -> None:
    kind = node.type
    name = chain(node)
    if name is not None:
        if name.split(".")[0] not in hidden:
            found.add(name)
    elif kind == "attribute":
        _needs_fields(node, ("object",), hidden, found)
    elif kind in FUNCTIONS:
        _needs_function(node, hidden, found)
    elif kind in COMPREHENSIONS:
        inner = hidden | {name for c in node.named_children if c.type == "for_in_clause" for name in _left(c)}
        _needs_children(node, inner, found)
    elif kind == "class_definition":
        _needs_fields(node, ("superclasses", "body"), hidden, found)
    elif kind == "keyword_argument":
        _needs_fields(node, ("value",), hidden, found)
    elif kind not in _SILENT:
        _needs_children(node, hidden, found)


def _needs_fields(node: Node, names: tuple[str, ...], hidden: frozenset[str], found: set[str]) -> None:
    for name in names:
        part = field(node, name)
        if part is not None:
            _needs(part, hidden, found)


def _needs_children(node: Node, hidden: frozenset[str], found: set[str]) -> None:
    for child in node.named_children:
        _needs(child, hidden, found)


def _left(clause: Node) -> Iterator[str]:
    left = field(clause, "left")
    if left is not None:
        yield from _targets(left)


def _needs_function(node: Node, hidden: frozenset[str], found: set[str]) -> None:
    """Defaults and annotations are read outside the function, its body inside."""
    parameters, body = field(node, "parameters"), field(node, "body")
    names: set[str] = set()
    for parameter in parameters.named_children if parameters is not None else ():
        _needs_fields(parameter, ("type", "value"), hidden, found)
        names.update(_parameter_names(parameter))
    _needs_fields(node, ("return_type",), hidden, found)
    if body is not None:
        names.update(binds(body))
        names -= _declared_global(body)
        _needs(body, hidden | names, found)


def _parameter_names(parameter: Node) -> Iterator[str]:
    name = field(parameter, "name")
    if name is not None:
        yield from _identifiers(name)
    elif parameter.type == "typed_parameter":
        yield from _identifiers(parameter.named_children[0])
    else:
        yield from _identifiers(parameter)


def _declared_global(node: Node) -> set[str]:
    if node.type == "global_statement":
        return {text(child) for child in node.named_children}
    return {name for child in node.named_children if child.type not in FUNCTIONS for name in _declared_global(child)}
