"""A memory of limited size: what was put in first is forgotten first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Values by key, up to so many of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[K, V] = {}

    def get(self, key: K, make: Callable[[], V]) -> V:
        """Return the value of a key, made now where it is not known; what `make` raises passes through."""
        if key not in self._values:
            value = make()
            if len(self._values) >= self._most:
                self._values.pop(next(iter(self._values)))
            self._values[key] = value
        return self._values[key]
