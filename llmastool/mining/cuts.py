"""What is cut out of a source, and how it is written down."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmastool.mining.bundle import SlicedFile
from llmastool.mining.imports import Import, import_lines
from llmastool.mining.parsed import IndexedFile
from llmastool.mining.statements import Statement


@dataclass(frozen=True)
class Cut:
    """What was cut out of a source."""

    files: tuple[SlicedFile, ...]
    """The slice, sorted by name."""
    third_party: tuple[str, ...]
    """Top-level packages of others that it imports."""
    taken: frozenset[int]
    """`id` of every statement that is in it whole."""

    @property
    def lines(self) -> int:
        """Number of lines, over all files."""
        return sum(text.count("\n") + 1 for file in self.files for _, text in file.statements)


@dataclass
class Wanted:
    """What is taken of one file."""

    whole: dict[int, Statement] = field(default_factory=dict)
    """Statements taken whole, by their place in the file."""
    narrowed: dict[int, set[Import]] = field(default_factory=dict)
    """Bare imports, by their place in the file: what of them is in use."""


def render(file: IndexedFile, wanted: Wanted) -> SlicedFile:
    """Return the sliced form of a file: whole statements, and imports of no more than what is in use."""
    statements = []
    for place in sorted({*wanted.whole, *wanted.narrowed}):
        statement = file.statements[place]
        content = statement.slim if place in wanted.whole else import_lines(frozenset(wanted.narrowed[place]))
        statements.append((statement.line, content))
    return SlicedFile(name=file.name, package=file.source.package, statements=tuple(statements))
