"""Laying out expressions: on one line where it fits, else one item a line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

WIDTH = 110
"""Longest line, in characters."""


@dataclass(frozen=True)
class Group:
    """A call, list, tuple or dict: an opening, items, each behind a prefix such as `key=`, and a closing."""

    opening: str
    items: tuple[tuple[str, Doc], ...]
    closing: str


Doc: TypeAlias = str | Group
"""An expression: plain text, or a group that can be broken over lines."""


def render(doc: Doc, indent: int = 0, used: int = 0) -> str:
    """Return an expression as source text.

    Args:
        doc: the expression.
        indent: spaces before the line on which it starts.
        used: further characters on that line, before and after it.
    """
    line = _flat(doc)
    if isinstance(doc, str) or indent + used + len(line) <= WIDTH or not doc.items:
        return line
    inner = indent + 4
    rows = [f"{' ' * inner}{prefix}{render(item, inner, len(prefix) + 1)},\n" for prefix, item in doc.items]
    return f"{doc.opening}\n{''.join(rows)}{' ' * indent}{doc.closing}"


def _flat(doc: Doc) -> str:
    if isinstance(doc, str):
        return doc
    items = ", ".join(prefix + _flat(item) for prefix, item in doc.items)
    lonely = doc.opening == "(" and len(doc.items) == 1
    return f"{doc.opening}{items}{',' if lonely else ''}{doc.closing}"
