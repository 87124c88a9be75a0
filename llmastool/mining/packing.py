"""Slices in little room: bundles of one source repeat each other's statements, so each text is stored once.

A pack is a JSON value of three tables and the rows that refer to them by place: `texts`; `statements`, each
`[line, text]`; and `files`, each `[name, package, [statements]]`. What is unpacked shares its strings and tuples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from llmastool.canonical import Json


class FileLike(Protocol):
    """A sliced file."""

    @property
    def name(self) -> str:
        """Dotted module name."""

    @property
    def package(self) -> bool:
        """Whether it is an `__init__.py`."""

    @property
    def statements(self) -> tuple[tuple[int, str], ...]:
        """`(first line, source text)`, in order."""


File = TypeVar("File")


class Packer:
    """Collects files, each once, and gives their places."""

    def __init__(self) -> None:
        self._texts: dict[str, int] = {}
        self._statements: dict[tuple[int, str], int] = {}
        self._files: dict[tuple[str, bool, tuple[int, ...]], int] = {}

    def add(self, files: Iterable[FileLike]) -> list[int]:
        """Return the places of files in the table, in their order."""
        return [self._file(f) for f in files]

    def _file(self, file: FileLike) -> int:
        places = tuple(self._statement(s) for s in file.statements)
        return self._files.setdefault((file.name, file.package, places), len(self._files))

    def _statement(self, statement: tuple[int, str]) -> int:
        self._texts.setdefault(statement[1], len(self._texts))
        return self._statements.setdefault(statement, len(self._statements))

    def tables(self) -> Json:
        """Return the tables that `unpack_files` reads."""
        return {
            "texts": list(self._texts),
            "statements": [[line, self._texts[text]] for line, text in self._statements],
            "files": [[name, package, list(places)] for name, package, places in self._files],
        }


def unpack_files(tables: Json, make: Callable[[str, bool, tuple[tuple[int, str], ...]], File]) -> Sequence[File]:
    """Return the files of a pack, each made by `make(name, package, statements)`."""
    texts: list[str] = tables["texts"]
    statements = [(line, texts[text]) for line, text in tables["statements"]]
    return [make(name, package, tuple(statements[p] for p in places)) for name, package, places in tables["files"]]
