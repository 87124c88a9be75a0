"""Hygiene of text that others wrote, be it mined from a repository or sent by an LLM."""

from __future__ import annotations

import unicodedata

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
"""Unicode categories that are dropped: control and format characters (reordering among them), lone surrogates,
private and unassigned ones."""


def clean_block(text: str, limit: int) -> str:
    """Return text of several lines without control characters, at most `limit` characters long."""
    normal = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    kept = "".join(c for c in normal if c == "\n" or unicodedata.category(c) not in _UNSAFE)
    return _cut(kept.strip(), limit)


def clean_line(text: str, limit: int) -> str:
    """Return text as one line without control characters, at most `limit` characters long."""
    return _cut(" ".join(clean_block(text, len(text)).split()), limit)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
