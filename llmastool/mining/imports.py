"""The import statements of a piece of Python, one value for each name that they bring in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from tree_sitter import Node

from llmastool.mining.nodes import chain, field, text

WIDTH = 120
"""Longest line of imports that is written, in characters."""


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


@lru_cache(maxsize=4096)
def import_lines(items: frozenset[Import]) -> str:
    """Return imports as source text, in a fixed order and as few lines as their width allows, a statement a line."""
    plain = sorted({_aliased(i.module, i.bound, i.module.split(".")[0]) for i in items if i.name is None})
    named: dict[str, set[str]] = {}
    for item in items:
        if item.name is not None:
            origin = "." * item.level + item.module
            named.setdefault(origin, set()).add(_aliased(item.name, item.bound or item.name, item.name))
    lines = [f"import {name}" for name in plain]
    for origin in sorted(named):
        start = f"from {origin} import "
        lines += [f"{start}*"] if "*" in named[origin] else []
        row = ""
        for name in sorted(named[origin] - {"*"}):
            if row and len(start) + len(row) + len(name) + 2 > WIDTH:
                lines.append(start + row)
                row = ""
            row = f"{row}, {name}" if row else name
        lines += [start + row] if row else []
    return "\n".join(lines)


def _aliased(name: str, bound: str, plain: str) -> str:
    return name if bound == plain else f"{name} as {bound}"


def imports_of(node: Node) -> Iterator[Import]:
    """Yield every import within a node, at any depth, in the order of the text."""
    stack = [(node, False)]
    while stack:
        node, guarded = stack.pop()
        if node.type == "import_statement":
            yield from _plain_imports(node, guarded)
        elif node.type == "import_from_statement":
            yield from _from_imports(node, guarded)
        else:
            hidden = _never_run(node)
            stack.extend((child, guarded or child in hidden) for child in reversed(node.named_children))


def _never_run(node: Node) -> list[Node]:
    """Return the branches of an `if TYPE_CHECKING` or `if not TYPE_CHECKING` that only type checkers read."""
    condition = field(node, "condition") if node.type == "if_statement" else None
    if condition is None:
        return []
    if condition.type == "not_operator":
        condition, branch = field(condition, "argument"), "alternative"
    else:
        branch = "consequence"
    name = chain(condition) if condition is not None else None
    if name is None or name.split(".")[-1] != "TYPE_CHECKING":
        return []
    return node.children_by_field_name(branch)


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
