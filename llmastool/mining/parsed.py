"""One file of a source, parsed: its top-level statements and the names that they bind."""

from __future__ import annotations

import builtins
import re
from collections.abc import Mapping
from functools import cached_property

import tree_sitter_python
from tree_sitter import Language, Parser

from llmastool.mining.decode import compiles, decode
from llmastool.mining.imports import Import
from llmastool.mining.nodes import text
from llmastool.mining.sources import SourceFile
from llmastool.mining.statements import Statement

_PARSER = Parser(Language(tree_sitter_python.language()))


class IndexedFile:
    """One parsed file."""

    def __init__(self, source: SourceFile) -> None:
        self.source = source
        self.name = source.module
        content, whole = decode(source.content)
        self.root = _PARSER.parse(content.encode("utf-8", "replace")).root_node
        self.broken = not whole or self.root.has_error or not compiles(content)
        """Whether Python 3 could not read the file; what could be parsed of it is still there."""
        nodes = [n for n in self.root.named_children if n.type not in ("comment", "ERROR")]
        futures = [n for n in nodes if n.type == "future_import_statement"]
        lazy = any("annotations" in text(n) for n in futures)
        self.statements = [Statement(n, lazy=lazy) for n in nodes]
        self.futures = [s for s in self.statements if s.node.type == "future_import_statement"]

    @cached_property
    def binders(self) -> Mapping[str, list[Statement]]:
        """Statements by the names that they bind."""
        found: dict[str, list[Statement]] = {}
        for statement in self.statements:
            for name in () if statement.guards_main else statement.binds:
                found.setdefault(name, []).append(statement)
        return found

    @cached_property
    def touchers(self) -> Mapping[str, list[Statement]]:
        """Statements by the name whose object they change."""
        found: dict[str, list[Statement]] = {}
        for statement in self.statements:
            for name in () if statement.guards_main else statement.touches:
                found.setdefault(name, []).append(statement)
        return found

    @cached_property
    def stars(self) -> list[tuple[Statement, Import]]:
        """All `from ... import *` of the file."""
        return [(s, i) for s in self.statements if "*" in s.text for i in s.imports if i.name == "*"]

    def absolute(self, item: Import) -> str:
        """Return the absolute dotted module that an import of this file names."""
        if item.level == 0:
            return item.module
        parts = self.name.split(".")
        parts = parts if self.source.package else parts[:-1]
        parts = parts[: max(0, len(parts) - (item.level - 1))]
        return ".".join([*parts, item.module] if item.module else parts)

    def dynamic_binders(self, name: str) -> list[Statement]:
        """Return the statements that may bind a name by way of `globals()`."""
        if hasattr(builtins, name):
            return []
        return [s for s in self._dynamic if any(re.fullmatch(pattern, name) for pattern in s.lookups)]

    @cached_property
    def _dynamic(self) -> list[Statement]:
        return [s for s in self.statements if s.definition is None and not s.guards_main and s.lookups]
