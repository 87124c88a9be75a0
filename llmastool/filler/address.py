"""Where an endpoint is, and the key for it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

import httpx2

from llmastool.errors import ConfigError
from llmastool.filler.config import FillerConfig


@dataclass(frozen=True)
class Address:
    """Where an endpoint is. It is a `Host` that runs already and goes on."""

    base_url: str | None
    """Root of the endpoint; None for OpenAI's own."""
    key: str = field(repr=False)
    """What it is to be told; empty where it wants none."""

    @staticmethod
    def configured(config: FillerConfig) -> Address:
        """Return what the configuration and the environment say.

        Raises:
            ConfigError: the base URL is none, or the key has characters that no header can carry.
        """
        key = os.environ.get("OPENAI_API_KEY", "")
        base_url = config.base_url or os.environ.get("OPENAI_BASE_URL") or None
        if not (key.isascii() and key.isprintable()):
            raise ConfigError("OPENAI_API_KEY: expected printable ASCII characters, got others; set the key again")
        if base_url is not None and not _is_web(base_url):
            raise ConfigError(
                f"OPENAI_BASE_URL or filler.base_url: expected a URL such as http://127.0.0.1:8080/v1, got {base_url!r}"
            )
        return Address(base_url, key)

    def start(self) -> Address:
        """Return itself."""
        return self

    def close(self) -> None:
        """Do nothing."""


class Host(Protocol):
    """Has an endpoint running where there is something to ask."""

    def start(self) -> Address:
        """Return where it is, after starting it if need be."""

    def close(self) -> None:
        """End what was started."""


def _is_web(url: str) -> bool:
    try:
        parsed = httpx2.URL(url)
        bracketed = urlsplit(url).hostname  # the client's own parser lets a bracket without its partner pass
    except (httpx2.InvalidURL, ValueError):
        return False
    return parsed.scheme in ("http", "https") and bool(bracketed)
