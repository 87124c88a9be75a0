"""Changing source text in place: comments and layout stay as they were written."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterable, Mapping

from llmastool.trees.scopes import Use, module_uses

Edit = tuple[int, int, str]
"""First and end byte of a span, and the text to put there."""


class NotEditableError(Exception):
    """A change cannot be made with certainty. The message says why, for a comment in the exported file."""


class Text:
    """A piece of source and the spans of its nodes, in bytes, as `ast` counts columns."""

    def __init__(self, text: str) -> None:
        self.content = text.encode()
        self._starts = [0]
        for line in self.content.split(b"\n"):
            self._starts.append(self._starts[-1] + len(line) + 1)

    def offset(self, line: int, column: int) -> int:
        """Return the byte at a line, from 1, and a column, from 0."""
        return self._starts[line - 1] + column

    def span(self, node: ast.stmt | ast.expr | ast.alias) -> tuple[int, int]:
        """Return the first and the end byte of a node."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno, node.end_col_offset)

    def indent(self, node: ast.stmt) -> int | None:
        """Return how many spaces stand before a statement; None where it does not stand at the start of its line."""
        before = self.content[self._starts[node.lineno - 1] : self.span(node)[0]]
        return None if before.strip(b" ") else len(before)

    def edited(self, edits: Iterable[Edit]) -> str:
        """Return the text with spans replaced; they must not overlap."""
        content = self.content
        for start, end, new in sorted(edits, reverse=True):
            content = content[:start] + new.encode() + content[end:]
        return content.decode()


def rename(text: str, names: Mapping[str, str]) -> str:
    """Rename names of the module in a piece of its source, and nothing else.

    Raises:
        NotEditableError: one of the names stands where its place cannot be told; the text is proven otherwise.
    """
    tree = ast.parse(text)
    uses = [use for use in module_uses(tree) if use.name in names]
    if not uses:
        return text
    source = Text(text)
    tokens = _name_tokens(text)
    edits = {edit for use in uses for edit in _edits(source, tokens, use, names)}
    result = source.edited(edits)
    try:
        proven = ast.dump(ast.parse(result)) == ast.dump(tree)  # the tree's own nodes have been renamed by now
    except SyntaxError:
        proven = False
    if not proven:
        raise NotEditableError(f"{', '.join(sorted({u.name for u in uses}))} could not be renamed in it")
    return result


def _edits(source: Text, tokens: list[tuple[int, str]], use: Use, names: Mapping[str, str]) -> list[Edit]:
    """Return the edits of one use, and rename its node."""
    node, new = use.node, names[use.name]
    if isinstance(node, ast.Name):
        start, end = source.span(node)
        node.id = new
        if source.content[start:end].decode() != use.name:  # within some f-strings, before Python 3.12
            raise NotEditableError(f"{use.name} stands in an f-string of it")
        return [(start, end, new)]
    if isinstance(node, ast.alias):
        if node.asname is None and "." in node.name:
            raise NotEditableError(f"it imports {node.name} under the name {use.name}, which another file binds too")
        start, end = source.span(node)
        node.asname = new
        return [(start, end, f"{node.name} as {new}")]
    first = source.offset(node.lineno, node.col_offset)  # type: ignore[attr-defined]
    last = source.offset(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]
    decorators = getattr(node, "decorator_list", [])
    first = max([first, *(source.span(d)[1] for d in decorators)])
    if isinstance(node, ast.Global):
        node.names = [new if name == use.name else name for name in node.names]
    else:
        setattr(node, "rest" if isinstance(node, ast.MatchMapping) else "name", new)
    place = next(start for start, name in tokens if first <= start < last and name == use.name)
    return [(place, place + len(use.name.encode()), new)]


def _name_tokens(text: str) -> list[tuple[int, str]]:
    """Return the start bytes and texts of all identifiers."""
    found = []
    source = Text(text)
    lines = text.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            line, column = token.start
            found.append((source.offset(line, len(lines[line - 1][:column].encode())), token.string))
    return found


def indented(text: str, by: int) -> str:
    """Indent source text, but for the lines that lie within a string."""
    inner: set[int] = set()
    opened: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "FSTRING_START":
            opened.append(token.start[0])
        elif kind == "FSTRING_END":
            inner.update(range(opened.pop() + 1, token.end[0] + 1))
        elif kind == "STRING":
            inner.update(range(token.start[0] + 1, token.end[0] + 1))
    lines = text.split("\n")
    return "\n".join(
        " " * by + line if line.strip() and number not in inner else line for number, line in enumerate(lines, start=1)
    )
