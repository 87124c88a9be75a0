"""What accuracies on the way say of the end: a network's curve beside that of the one that it was made from.

Networks of different kinds begin differently, and a slow start may well end best, as long as the learning rate is high.
A network and what an edit made of it begin alike: what sets them apart on the way mostly does at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Curve:
    """What is known of one training."""

    parent: str | None
    """Name of the network that it was made from; None or unknown where there is none."""
    at: Mapping[float, float]
    """Validation accuracy in percent by how far it was trained, in whatever unit."""
    end: float | None
    """The same at the end; None where it did not come to it."""


def expected(curves: Mapping[str, Curve], rung: float) -> dict[str, float]:
    """Return what the networks that came to a rung end at, by what was seen of each there, in percent.

    One whose parent came as far is expected as far from the parent's end, known or expected, as the two are apart at
    the rung, times the slope that pairs of ended networks show. Others lie on the line that leads from the rung to the
    end. Both slopes are drawn to 1 with the weight of one pair.

    Args:
        curves: what is known, by name.
        rung: how far they were trained.

    Returns:
        By name, of those that ended too; nothing as long as none of the others did.
    """
    here = {name: curve for name, curve in curves.items() if rung in curve.at}
    ended = {name: (curve.at[rung], curve.end) for name, curve in here.items() if curve.end is not None}
    if not ended:
        return {}
    mean, level = (sum(values) / len(ended) for values in zip(*ended.values(), strict=True))
    slope = _slope([(early - mean, end - level) for early, end in ended.values()])
    pairs = [(ended[name], ended[here[name].parent or ""]) for name in ended if here[name].parent in ended]
    step = _slope([(early - before, end - last) for (early, end), (before, last) in pairs])
    found: dict[str, float] = {}

    def find(name: str) -> float:
        if name not in found:
            curve, parent = here[name], here.get(here[name].parent or "")
            if parent is None:
                expect = level + slope * (curve.at[rung] - mean)
            else:
                end = parent.end if parent.end is not None else find(curve.parent or "")
                expect = end + step * (curve.at[rung] - parent.at[rung])
            found[name] = min(max(expect, 0.0), 100.0)
        return found[name]

    return {name: find(name) for name in here}


def _slope(pairs: Sequence[tuple[float, float]]) -> float:
    """Return the slope of a line through the origin, 0 or more."""
    square = sum(x * x for x, _ in pairs)
    weight = square / max(len(pairs), 1)
    return max((sum(x * y for x, y in pairs) + weight) / (square + weight), 0.0) if square else 1.0
