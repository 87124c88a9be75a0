"""Leave out of a statement what does nothing when it runs: strings that stand alone, docstrings above all.

The docstring of a mined class is kept in its bundle. One that something could read at run time stays in the code: below
a decorator, and in a statement that speaks of `__doc__`. Comments stay; they are where licences are named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tree_sitter import Node

from llmastool.mining.names import BLIND
from llmastool.mining.nodes import field, text, walk

_ALONE = re.compile(rb"^[ \t]*[rRuUbB]{0,2}[\"']", re.MULTILINE)
_LINE_END = re.compile(rb"[ \t]*(#[^\n]*)?(\n([ \t]*\n)*|\Z)")


def slim(node: Node) -> str:
    """Return a statement's source text without the strings that stand alone."""
    raw = node.text
    assert raw is not None
    if b"__doc__" in raw or not _ALONE.search(raw):
        return text(node)
    kept, position = [], 0
    for start, end in _spans(node, raw):
        kept.append(raw[position:start])
        position = end
    return b"".join([*kept, raw[position:]]).decode("utf-8", "replace").rstrip()


def _spans(node: Node, raw: bytes) -> Iterator[tuple[int, int]]:
    """Yield the byte ranges to leave out, whole lines, relative to the node."""
    seen = {_key(block) for n in walk(node) if n.type == "decorated_definition" for block in _read_blocks(n)}
    for block in walk(node):
        if block.type != "block":
            continue
        statements = [c for c in block.named_children if c.type != "comment"]
        alone = [c for c in statements if _is_bare_string(c)]
        if len(alone) == len(statements) or _key(block) in seen:
            continue
        for statement in alone:
            start, end = statement.start_byte - node.start_byte, statement.end_byte - node.start_byte
            line = raw.rfind(b"\n", 0, start) + 1
            rest = _LINE_END.match(raw, end)
            if rest is not None and not raw[line:start].strip():
                yield line, rest.end()


def _is_bare_string(node: Node) -> bool:
    if node.type != "expression_statement" or len(node.named_children) != 1:
        return False
    string = node.named_children[0]
    return string.type == "string" and not any(c.type == "interpolation" for c in string.named_children)


def _read_blocks(decorated: Node) -> Iterator[Node]:
    """Yield the block of a definition whose docstring a decorator could read."""
    definition = field(decorated, "definition")
    body = field(definition, "body") if definition is not None else None
    decorators = [text(c).lstrip("@").strip() for c in decorated.named_children if c.type == "decorator"]
    if body is not None and any(d not in BLIND for d in decorators):
        yield body


def _key(node: Node) -> tuple[int, int]:
    return node.start_byte, node.end_byte
