"""Addresses as they are shown: names and passwords in them are for those whom they lead to alone."""

from __future__ import annotations

import re

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@")


def without_credentials(text: str) -> str:
    """Return a text without the user and password in any URL in it, as in `https://user:token@host/path`."""
    return _CREDENTIALS.sub("", text)
