"""Print what commands find: plain columns for a reader, JSON for a program.

Names, messages and code come from other people's repositories. Before they are shown, characters that a terminal would
obey are written as escapes.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from llmastool.canonical import Json
from llmastool.leaving import leave_now

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_NARROWEST = 60
"""Fewest columns that a line is cut to, in characters."""


def leave(message: str) -> NoReturn:
    """Say why, and end at once with the status of Ctrl-C.

    What trains is not waited for: the kernel ends it with this process, and it goes on from its checkpoint.
    """
    print(message, file=sys.stderr)
    leave_now(128 + signal.SIGINT)


def as_json(value: Json) -> None:
    """Print a JSON value."""
    print(json.dumps(value, indent=1, sort_keys=True))


def clean(text: object) -> str:
    """Return text in which control characters, and marks that turn the direction of writing, are escapes."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], str(text))


def columns(rows: Sequence[Sequence[object]], heads: Sequence[str]) -> None:
    """Print rows in aligned columns; numbers are aligned to the right. On a terminal, lines are cut to its width.

    Args:
        rows: cells, None for an empty one.
        heads: one for each column.
    """
    cells = [[_cell(cell) for cell in row] for row in rows]
    right = [bool(rows) and all(isinstance(row[i], int | None) for row in rows) for i in range(len(heads))]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    limit = max(_NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None
    for line in (list(heads), *cells):
        aligned = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True))
        print("  ".join(aligned).rstrip()[:limit])


def _cell(cell: object) -> str:
    if cell is None:
        return ""
    return f"{cell:,}" if isinstance(cell, int) else clean(cell).replace("\n", " ").replace("\t", " ")
