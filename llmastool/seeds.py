"""One seed spawns a named generator for every part, so that no part's draws disturb another's."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from llmastool.canonical import digest

Seed: TypeAlias = tuple[int, *tuple[str | int, ...]]
"""A seed and the names of the part that draws, e.g. `(0, "pool", 3)`."""


def derive(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for the part that `names` spell, e.g. `derive(0, "planner", 3)` for its fourth round."""
    return int(digest([seed, *names])[:16], 16) >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return the NumPy generator of the part that `names` spell."""
    return np.random.default_rng(derive(seed, *names))
