"""Bytes of a Python file to text, as Python itself would read them, and whether Python can."""

from __future__ import annotations

import ast
import io
import tokenize
import warnings


def decode(content: bytes) -> tuple[str, bool]:
    """Return the text of a Python file, and whether it is what its encoding says.

    A byte order mark and a coding line (PEP 263) are followed, and all line ends become one. What cannot be decoded is
    read as UTF-8 with replacements, so that the rest of the file is not lost.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        text, whole = content.decode(encoding), True
    except (SyntaxError, LookupError, ValueError):
        text, whole = content.decode("utf-8", "replace"), False
    return text.replace("\r\n", "\n").replace("\r", "\n"), whole


def compiles(text: str) -> bool:
    """Return whether Python can parse a text: neither Python 2, nor nested too deeply, nor with null bytes in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes and the like, in code that is not ours
        try:
            compile(text, "<source>", "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True
