"""A benchmark in parts: each is measured by itself, and kept as soon as it is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.machine import describe
from llmastool.canonical import Json, read_json, write_json

S = TypeVar("S")


def measure(
    names: Sequence[str],
    parts: Mapping[str, Callable[[S], Json]],
    setting: S,
    results: Path,
    headline: Callable[[Json], Json],
) -> None:
    """Measure parts and write their figures; those of other parts stay as they are.

    Args:
        names: which parts, in order.
        parts: what measures each.
        setting: what they work on.
        results: file to write.
        headline: from all that is known, the figures that stand at the top of the file.
    """
    known = read_json(results) if results.exists() else {}
    for name in names:
        print(f"{name} ...", flush=True)
        known[name] = {**parts[name](setting), "machine": describe()}
        known |= headline(known)
        write_json(results, known)
        print(json.dumps({k: v for k, v in known[name].items() if k != "machine"}, indent=1)[:4000], flush=True)
