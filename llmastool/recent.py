"""A memory of limited size: what was put in first is forgotten first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Values by key, up to so many of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[K, V] = {}
        self.made = 0
        """How many values were made so far, those that are forgotten included."""

    def get(self, key: K, make: Callable[[], V]) -> V:
        """Return the value of a key, made now where it is not known; what `make` raises passes through."""
        if key not in self._values:
            self.put(key, make())
        return self._values[key]

    def peek(self, key: K) -> V | None:
        """Return the value of a key; None where it is not known."""
        return self._values.get(key)

    def pop(self, key: K) -> V | None:
        """Forget the value of a key and return it; None where it is not known."""
        return self._values.pop(key, None)

    def put(self, key: K, value: V) -> None:
        """Remember a value that was made."""
        self._put(key, value)
        self.made += 1

    def newest(self, number: int) -> list[tuple[K, V]]:
        """Return the last of the values that were put in, with their keys, in that order: so many, or all there are."""
        return list(islice(reversed(self._values.items()), number))[::-1]

    def take(self, known: Iterable[tuple[K, V]]) -> None:
        """Put in values that were made elsewhere, in place of what is known of the same keys."""
        for key, value in known:
            self._put(key, value)

    def _put(self, key: K, value: V) -> None:
        if key not in self._values and len(self._values) >= self._most:
            self._values.pop(next(iter(self._values)))
        self._values[key] = value
