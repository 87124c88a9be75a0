"""Top-level statements of a file: what they bind, need and change. All is worked out when first asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property

from tree_sitter import Node

from llmastool.mining.imports import Import, imports_of
from llmastool.mining.names import DEFINITIONS, IMPORTS, binds, chains, needs
from llmastool.mining.nodes import arguments, chain, field, literal, text, unroll, walk
from llmastool.mining.slimming import slim

BLOCKS = frozenset(
    {"if_statement", "try_statement", "for_statement", "while_statement", "with_statement", "match_statement"}
)
"""Compound statements whose blocks run in the scope around them."""
_DYNAMIC = re.compile(r"\b(globals|vars|locals|eval|modules)\b")


class Statement:
    """A top-level statement of a file."""

    def __init__(self, node: Node, *, lazy: bool = False) -> None:
        self.node = node
        self.line = node.start_point[0] + 1
        """First line, from 1."""
        self._lazy = lazy

    @cached_property
    def text(self) -> str:
        """Source text."""
        return text(self.node)

    @cached_property
    def slim(self) -> str:
        """Source text without bare strings, which do nothing; see `llmastool.mining.slimming`."""
        return slim(self.node)

    @cached_property
    def binds(self) -> frozenset[str]:
        """Names that it binds in the module."""
        return frozenset(binds(self.node))

    @cached_property
    def needs(self) -> frozenset[str]:
        """Chains that it reads, now or when a function in it runs."""
        return needs(self.node, lazy=self._lazy)

    @cached_property
    def chains(self) -> frozenset[str]:
        """Every chain written in it, whatever scope it belongs to."""
        return frozenset(chains(self.node))

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """All imports in it, at any depth."""
        return tuple(imports_of(self.node)) if "import" in self.text else ()

    @cached_property
    def is_import(self) -> bool:
        """Whether it is a bare import, which can be narrowed to the names in use."""
        return self.node.type in IMPORTS

    @cached_property
    def definition(self) -> Node | None:
        """The class or function that it defines, decorators taken off; None for other statements."""
        node = self.node
        if node.type == "decorated_definition":
            return field(node, "definition")
        return node if node.type in DEFINITIONS else None

    @property
    def decorators(self) -> list[Node]:
        """The expressions that decorate what it defines."""
        if self.node.type != "decorated_definition":
            return []
        return [d.named_children[0] for d in self.node.named_children if d.type == "decorator" and d.named_children]

    @cached_property
    def guards_main(self) -> bool:
        """Whether it is an `if __name__ == "__main__"`, which never runs in a module that is imported."""
        condition = field(self.node, "condition") if self.node.type == "if_statement" else None
        return condition is not None and "__name__" in text(condition)

    @cached_property
    def touches(self) -> frozenset[str]:
        """Names whose objects it changes without binding them: `X.y = ...`, `X[y] += ...`, `X.append(...)`, `del`."""
        if self.node.type not in ("expression_statement", "delete_statement", *BLOCKS):
            return frozenset()
        return frozenset(_changed(self.node))

    @cached_property
    def mutates(self) -> frozenset[str]:
        """Of a function: names of its module whose objects its body changes, as a registering function does."""
        definition = self.definition
        body = field(definition, "body") if definition is not None else None
        if definition is None or body is None or definition.type != "function_definition":
            return frozenset()
        return frozenset(_changed(body, inside=True)) & {name.split(".")[0] for name in self.needs}

    @cached_property
    def adds_to(self) -> frozenset[str]:
        """Chains of its decorators, or of what it calls and nothing else, where it reads them only there."""
        definition = self.definition
        if definition is not None and self.decorators:
            rest = needs(definition, lazy=self._lazy)
            called = {chain(field(d, "function") or d) for d in self.decorators}
            return frozenset(name for name in called if name is not None and name not in rest)
        call = self.call
        function = field(call, "function") if call is not None else None
        name = chain(function) if function is not None else None
        return frozenset({name} if name is not None else ())

    @property
    def call(self) -> Node | None:
        """The call that it consists of."""
        node = self.node
        inner = node.named_children[0] if node.type == "expression_statement" and node.named_children else None
        return inner if inner is not None and inner.type == "call" else None

    @cached_property
    def lookups(self) -> frozenset[str]:
        """Regular expressions of the module's names that it looks up by strings, `globals()[...]` and the like."""
        if not _DYNAMIC.search(self.text):
            return frozenset()
        return frozenset(_lookups(self.node))


def _changed(node: Node, *, inside: bool = False) -> Iterator[str]:
    """Yield the names changed by statements within a node, functions left out unless `inside`."""
    for inner in walk(node, stop=frozenset() if inside else DEFINITIONS | {"lambda"}):
        targets: list[Node | None] = []
        if inner.type in ("assignment", "augmented_assignment"):
            targets = [field(inner, "left")]
        elif inner.type == "delete_statement":
            targets = list(inner.named_children)
        elif inner.type == "expression_statement" and inner.named_children:
            targets = [_method(inner.named_children[0])]
        elif inner.type == "call" and inside and text(inner).partition("(")[0].endswith(".setdefault"):
            targets = [_method(inner)]
        for target in targets:
            name = _owner(target) if target is not None else None
            if name is not None:
                yield name


def _method(call: Node) -> Node | None:
    """Return `X.append` for `X.append(...)`."""
    function = field(call, "function") if call.type == "call" else None
    return function if function is not None and function.type == "attribute" else None


def _owner(target: Node) -> str | None:
    """Return `X` for `X.y`, `X[y]` and deeper."""
    node: Node | None = target
    while node is not None and node.type in ("attribute", "subscript"):
        node = unroll(node)[0] if node.type == "attribute" else field(node, "value")
    return text(node) if node is not None and node is not target and node.type == "identifier" else None


def _lookups(node: Node) -> Iterator[str]:
    for inner in walk(node):
        key: Node | None = None
        if inner.type == "subscript" and _is_namespace(field(inner, "value")):
            key = field(inner, "subscript")
        elif inner.type == "call":
            key = _looked_up(field(inner, "function"), arguments(inner))
        if key is not None:
            yield _pattern(key)


def _looked_up(function: Node | None, given: list[Node]) -> Node | None:
    """Return the argument that names what a call looks up in its module."""
    if function is None or not given:
        return None
    name = chain(function)
    if name == "eval":
        return given[0]
    if name == "getattr" and len(given) > 1 and _is_module(given[0]):
        return given[1]
    if function.type == "attribute" and _is_namespace(field(function, "object")):
        attribute = field(function, "attribute")
        return given[0] if attribute is not None and text(attribute) in ("get", "pop", "__getitem__") else None
    return None


def _is_module(node: Node | None) -> bool:
    return node is not None and node.type == "subscript" and text(node).replace(" ", "") == "sys.modules[__name__]"


def _is_namespace(node: Node | None) -> bool:
    """Return whether a node is `globals()`, `vars(sys.modules[__name__])` or `sys.modules[__name__].__dict__`."""
    if node is None:
        return False
    if node.type == "attribute":
        return text(node).endswith("__dict__") and _is_module(field(node, "object"))
    function = field(node, "function") if node.type == "call" else None
    name = text(function) if function is not None else ""
    given = arguments(node) if name else []
    return (name in ("globals", "vars") and not given) or (name == "vars" and _is_module(given[0]))


def _pattern(key: Node) -> str:
    """Return a regular expression of the names that an expression can give, as far as it is written out."""
    whole = literal(key)
    if whole is not None:
        return re.match(r"\w*", whole.strip()).group() or ".*"  # type: ignore[union-attr]
    if key.type == "string":
        known = {"string_content": lambda n: re.escape(text(n)), "interpolation": lambda _: ".*"}
        return "".join(known[c.type](c) for c in key.named_children if c.type in known)
    parts: list[str] = []
    while key.type == "binary_operator":
        left, right, sign = field(key, "left"), field(key, "right"), field(key, "operator")
        if left is None or right is None or sign is None or sign.type != "+":
            break
        whole = literal(right)
        parts.append(re.escape(whole) if whole is not None else ".*")
        key = left
    whole = literal(key)
    start = re.escape(whole) if whole is not None else ".*"
    return "".join([start, *reversed(parts)])
