"""Small tools for tree-sitter nodes. Walks keep their own stack: depth of code is not depth of recursion."""

from __future__ import annotations

from collections.abc import Iterator

from tree_sitter import Node


def text(node: Node) -> str:
    """Return a node's source text."""
    raw = node.text
    assert raw is not None
    return raw.decode("utf-8", "replace")


def field(node: Node, name: str) -> Node | None:
    """Return the child of a node under a field name of the grammar."""
    return node.child_by_field_name(name)


def walk(node: Node, *, stop: frozenset[str] = frozenset()) -> Iterator[Node]:
    """Yield a node and all named nodes below it in the order of the text, not going below kinds in `stop`."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        if node.type not in stop:
            stack.extend(reversed(node.named_children))


def unroll(node: Node) -> tuple[Node, list[str]]:
    """Return what a chain of attributes is read from, and the attributes, first one first."""
    parts: list[str] = []
    while node.type == "attribute":
        value, attribute = field(node, "object"), field(node, "attribute")
        if value is None or attribute is None:
            break
        parts.append(text(attribute))
        node = value
    return node, parts[::-1]


def chain(node: Node) -> str | None:
    """Return `a.b.c` for a name or a chain of attributes of a name, else None."""
    root, parts = unroll(node)
    return ".".join([text(root), *parts]) if root.type in ("identifier", "dotted_name") else None


def arguments(call: Node) -> list[Node]:
    """Return the arguments of a call as written, comments left out."""
    listed = field(call, "arguments")
    if listed is None:
        return []
    return (
        [listed] if listed.type == "generator_expression" else [c for c in listed.named_children if c.type != "comment"]
    )


def literal(node: Node) -> str | None:
    """Return the content of a plain string literal, else None. Escapes are left as written."""
    if node.type != "string" or any(c.type == "interpolation" for c in node.named_children):
        return None
    return "".join(text(c) for c in node.named_children if c.type == "string_content")
