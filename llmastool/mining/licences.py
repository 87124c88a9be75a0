"""Which licence a source states: in the metadata of its distribution, or by the text of a licence file."""

from __future__ import annotations

import email.message
import re
from collections.abc import Iterable

LICENCE_FILE = re.compile(r"(?:(?:un)?licen[cs]e|copying)(?:[-_.][\w.-]*)?(?<!\.py)", re.IGNORECASE)
"""The name of a licence file."""

_SIGNS = (
    ("Apache-2.0", ("apache license", "version 2.0")),
    ("MPL-2.0", ("mozilla public license", "2.0")),
    ("AGPL-3.0", ("gnu affero general public license", "version 3")),
    ("LGPL-3.0", ("gnu lesser general public license", "version 3")),
    ("LGPL-2.1", ("gnu lesser general public license", "version 2.1")),
    ("GPL-3.0", ("gnu general public license", "version 3")),
    ("GPL-2.0", ("gnu general public license", "version 2")),
    ("MIT", ("permission is hereby granted, free of charge", "without restriction")),
    ("BSD-3-Clause", ("redistribution and use in source and binary forms", "neither the name")),
    ("BSD-2-Clause", ("redistribution and use in source and binary forms", "this list of conditions")),
    ("ISC", ("permission to use, copy, modify, and", "with or without fee")),
    ("Unlicense", ("free and unencumbered software released into the public domain",)),
    ("CC-BY-NC-4.0", ("attribution-noncommercial 4.0 international",)),
)
"""Licences by phrases that their texts hold, the telling ones first: a GPL may speak of the LGPL, not in its head."""

_SPELLINGS = {
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd 2-clause": "BSD-2-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "mit license": "MIT",
    "the mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
}
"""Names that are in use beside the SPDX ones. Names that leave a version open, such as BSD, are not here."""

_HEAD = 3000
"""How much of a text is looked at, in characters. What follows can cite other licences."""


def licence_of(meta: email.message.Message, texts: Iterable[str] = ()) -> str:
    """Return the licence of a distribution, as an SPDX expression where that can be told.

    Args:
        meta: its metadata, of which the first that is there holds: SPDX expression, licence line, classifier.
        texts: its licence files, which decide where the metadata name no exact licence.
    """
    stated = _stated(meta)
    stated = _SPELLINGS.get(stated.lower(), stated)
    exact = (
        stated in {name for name, _ in _SIGNS} or " OR " in stated or " AND " in stated or "License-Expression" in meta
    )
    return stated if exact else licence_of_texts(texts) or stated


def _stated(meta: email.message.Message) -> str:
    if expression := meta.get("License-Expression"):
        return str(expression)
    line = (meta.get("License") or "").strip()
    if line and "\n" not in line and len(line) <= 40:
        return line
    classifiers = [c for c in meta.get_all("Classifier") or [] if c.startswith("License ::")]
    return classifiers[0].split("::")[-1].strip() if classifiers else ""


def licence_of_texts(texts: Iterable[str]) -> str:
    """Return the SPDX expression of licence texts, `A AND B` where they differ; empty where none is a common one."""
    found = {name for text in texts if (name := _told(text))}
    return " AND ".join(sorted(found))


def _told(text: str) -> str:
    head = " ".join(text[:_HEAD].lower().split())
    return next((name for name, signs in _SIGNS if all(sign in head for sign in signs)), "")
