"""Which files cannot be made flat with certainty, and so keep a namespace of their own in an exported file."""

from __future__ import annotations

import ast

from llmastool.trees.units import Unit

_ANNOTATION_READERS = frozenset(
    {"__annotations__", "annotation", "get_annotations", "getfullargspec", "signature", "script", "_script_if_tracing"}
)
"""Names that give away code that looks at annotations while it runs."""

_NAMESPACE_READERS = frozenset({"globals", "eval", "exec"})
"""Names that give away code that looks its own names up as text."""


def reason_to_box(unit: Unit, renamed: bool, future: bool) -> str:
    """Return why a file cannot be made flat; empty where it can.

    Args:
        unit: the file.
        renamed: whether any of its names would have to change.
        future: whether the flat file leaves annotations unevaluated.
    """
    if unit.outside_star:
        return f"it imports all names of {unit.outside_star}"
    nodes = [node for chunk in unit.chunks for node in ast.walk(chunk.tree)]
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    readers = names & _NAMESPACE_READERS
    if readers and (renamed or "__getattr__" in unit.binders):
        return f"it looks names up as text ({', '.join(sorted(readers))})"
    readers = (names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}) & _ANNOTATION_READERS
    if readers and future and not has_future(unit):
        return f"it looks at annotations ({', '.join(sorted(readers))}), which other files here leave unevaluated"
    return ""


def has_future(unit: Unit) -> bool:
    """Return whether a file leaves its annotations unevaluated."""
    nodes = (n for c in unit.chunks for n in c.tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__")
    return any(alias.name == "annotations" for node in nodes for alias in node.names)
