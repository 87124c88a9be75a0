"""Text and numbers for readers. Much of the text is other people's: names, messages and docstrings of mined code."""

from __future__ import annotations

import json
import re

from llmastool.registry.words import last_name
from llmastool.trees.text import called

UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Control characters, halves of surrogate pairs, and the marks that reverse the direction of the text around them."""

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""What programs write to colour a terminal."""

_ID = re.compile(r"(?:\w+\.)+\w+(?:@\w+)?")
"""A module's id."""

MINUS, DASH, NARROW_SPACE = "\u2212", "\u2013", "\u202f"


def clean(text: str, limit: int = 2000) -> str:
    """Return `text` fit for a page: nothing that is invisible or misleading, and at most `limit` characters.

    This is not escaping: that is done where text enters the page.
    """
    shown = UNSAFE.sub("\ufffd", COLOUR.sub("", text))
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def si(value: float | None) -> str:
    """Write a count with three digits and a unit prefix, e.g. `84.6 k`; a dash when there is none."""
    if value is None:
        return DASH
    for factor, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor * 0.9995:
            scaled = value / factor
            digits = 0 if abs(scaled) >= 99.95 else 1 if abs(scaled) >= 9.995 else 2
            return f"{scaled:.{digits}f}{NARROW_SPACE}{unit}"
    return f"{value:.0f}"


def tick(value: float) -> str:
    """Write a round value for an axis, e.g. `20 k` or `−0.5`."""
    if abs(value) < 1000:
        return f"{value:g}".replace("-", MINUS)
    number, space, unit = si(value).partition(NARROW_SPACE)
    return f"{float(number):g}{space}{unit}"


def fixed(value: float | None, digits: int = 2) -> str:
    """Write a number with so many decimals; a dash when there is none."""
    return DASH if value is None else f"{value:.{digits}f}".replace("-", MINUS)


def percent(value: float | None, digits: int = 2) -> str:
    """Write a number that is in percent already, e.g. `97.21 %`."""
    return DASH if value is None else f"{fixed(value, digits)}{NARROW_SPACE}%"


def signed(value: float | None, digits: int = 2) -> str:
    """Write a difference with its sign, e.g. `+0.42`."""
    if value is None:
        return DASH
    text = f"{value:+.{digits}f}"
    return text.replace("-", MINUS)


def time_unit(seconds: float) -> tuple[float, str]:
    """Return the unit in which a time is written, in seconds, and its name."""
    for unit, name in ((3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * unit:
            return unit, name
    return 1.0, "seconds"


def duration(seconds: float | None) -> str:
    """Write a time in seconds, minutes or hours, e.g. `4.2 seconds`; a dash when there is none."""
    if seconds is None:
        return DASH
    unit, name = time_unit(seconds)
    return f"{fixed(seconds / unit, 1)}{NARROW_SPACE}{name}"


def plural(count: int, word: str) -> str:
    """Write a count with its noun, e.g. `1 candidate`, `2 candidates`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def feature(name: str) -> str:
    """Write what the planner counts as a reader would: modules as calls, e.g. `Conv2d(bias=False)>ReLU`.

    Args:
        name: a family, a module's id with or without its arguments as JSON, or a chain of any of them.
    """
    written, left = "", name
    while (brace := left.find("{")) >= 0:
        before, arrow, module = left[:brace].rpartition(">")
        try:
            args, end = json.JSONDecoder().raw_decode(left, brace)
        except ValueError:  # no feature of this version
            return name
        written += _short_modules(before) + arrow + called(module, args)
        left = left[end:]
    return written + _short_modules(left)


def _short_modules(text: str) -> str:
    return _ID.sub(lambda found: last_name(found[0]), text)
