"""Marks: how a candidate looks in every chart, and the legends that say so."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from llmastool.report.inputs import Archive, Row
from llmastool.report.svg import Scale, el
from llmastool.report.text import clean, percent, si, signed

RAMP = 5
"""Steps of the colour ramp; classes `q0` to `q4` in the style sheet."""


def shape(kind: str, x: float, y: float, size: float = 4.0) -> str:
    """Return the path of a mark around a point.

    Args:
        kind: `dot`, `start` (diamond), `best` (star), `failed` (cross) or `below` (triangle that points down).
        x: centre, in pixels.
        y: centre, in pixels.
        size: half its width, in pixels.
    """
    if kind == "failed":
        s = size * 0.85
        return f"M{x - s:.1f} {y - s:.1f}l{2 * s:.1f} {2 * s:.1f}m0 {-2 * s:.1f}l{-2 * s:.1f} {2 * s:.1f}"
    if kind == "start":
        s = size * 1.3
        return f"M{x:.1f} {y - s:.1f}l{s:.1f} {s:.1f}l{-s:.1f} {s:.1f}l{-s:.1f} {-s:.1f}z"
    if kind == "below":
        return f"M{x - size:.1f} {y - size:.1f}h{2 * size:.1f}l{-size:.1f} {1.7 * size:.1f}z"
    if kind == "best":
        return _star(x, y, size * 2.1)
    arc = f"a{size:.1f} {size:.1f} 0 1 0"
    return f"M{x - size:.1f} {y:.1f}{arc} {2 * size:.1f} 0{arc} {-2 * size:.1f} 0z"


def _star(x: float, y: float, radius: float) -> str:
    points = []
    for i in range(10):
        r = radius if i % 2 == 0 else radius * 0.45
        angle = math.pi * i / 5
        points.append(f"{x + r * math.sin(angle):.1f} {y - r * math.cos(angle):.1f}")
    return f"M{'L'.join(points)}z"


def describe(row: Row, archive: Archive) -> str:
    """Return what a candidate's mark says when it is pointed at, in a few lines."""
    first = [row.name, "start" if row.is_start else f"round {row.candidate.round}"]
    if row.outcome.gate == "stopped":
        early = row.outcome.metrics["validation_accuracy"]
        second = f"{row.outcome.message}, at {percent(early)} validation accuracy"
    elif row.accuracy is None:
        second = f"fell at {row.outcome.gate}: {clean(row.outcome.message, 160)}"
    else:
        gain = archive.gain(row)
        second = f"{percent(row.accuracy)} validation accuracy"
        second += f" ({signed(gain)} against its parent)" if gain is not None else ""
    costs = [f"{si(row.parameters)} parameters"] if row.parameters is not None else []
    costs += [f"{si(row.flops)} multiply-adds"] if row.flops is not None else []
    lines = [" · ".join(first), second, " · ".join(costs), clean(row.candidate.change, 160)]
    return "\n".join(line for line in lines if line)


def mark(row: Row, archive: Archive, best: Row | None, at: tuple[float, float], *, hue: str, below: bool) -> Markup:
    """Draw a candidate. `hue` is a class that colours it; `below` says that its value lies under the axis."""
    kind = _kind(row, best)
    size = 4.0
    drawn = "below" if below and kind != "failed" else kind
    classes = f"m {kind} {hue}" if kind == "dot" else f"m {kind}"
    return el("path", el("title", describe(row, archive)), class_=classes, d=shape(drawn, *at, size), data_c=row.order)


def _kind(row: Row, best: Row | None) -> str:
    if row.accuracy is None:
        return "failed"
    if best is not None and row.order == best.order:
        return "best"
    return "start" if row.is_start else "dot"


def hue(value: float, low: float, high: float) -> str:
    """Return the class of a value on the colour ramp between two ends."""
    share = (value - low) / (high - low) if high > low else 1.0
    return f"q{min(max(int(share * RAMP), 0), RAMP - 1)}"


def layers(rows: Sequence[Row], best: Row | None) -> list[Row]:
    """Return the rows in the order of drawing: failures below, the best on top."""
    rank = {"failed": 0, "dot": 1, "start": 2, "best": 3}
    return sorted(rows, key=lambda row: (rank[_kind(row, best)], row.order))


def glyph(kind: str, extra: str = "") -> Markup:
    """Return a mark as a small picture of its own, for a legend."""
    path = el("path", class_=f"m {kind} {extra}".rstrip(), d=shape(kind, 8, 8, 4))
    return el("svg", path, class_="glyph", viewBox="0 0 16 16", aria_hidden="true")


def post(kind: str) -> Markup:
    """Return a piece of an upright line as a small picture, for a legend."""
    line = el("line", class_=kind, x1=8, x2=8, y1=0, y2=16)
    return el("svg", line, class_="glyph", viewBox="0 0 16 16", aria_hidden="true")


def dash(kind: str) -> Markup:
    """Return a piece of a line as a small picture, for a legend."""
    line = el("line", class_=kind, x1=0, x2=22, y1=8, y2=8)
    return el("svg", line, class_="glyph long", viewBox="0 0 22 16", aria_hidden="true")


def ramp() -> Markup:
    """Return the colour ramp as a small picture, for a legend."""
    boxes = [el("rect", class_=f"q{i}", x=i * 9, y=3, width=9, height=10) for i in range(RAMP)]
    return el("svg", *boxes, class_="glyph ramp", viewBox=f"0 0 {RAMP * 9} 16", aria_hidden="true")


def floor_of(values: Sequence[float]) -> float:
    """Return where an accuracy axis should begin, so that a few bad values do not flatten all the others.

    Values lower than that are drawn on the axis, as triangles; they are 8 % of all at most.
    """
    ordered = sorted(values)
    high, middle, low = ordered[-1], ordered[len(ordered) // 2], ordered[0]
    few = ordered[int(0.08 * len(ordered))]
    return max(low, min(middle - 3.0 * max(high - middle, 0.5), few))


def accuracy_domain(rows: Sequence[Row]) -> tuple[float, float]:
    """Return the ends of an accuracy axis, in percent, with some air; the best of the start population is on it."""
    values = [row.accuracy for row in rows if row.accuracy is not None]
    if not values:
        return 0.0, 100.0
    start = max((row.accuracy for row in rows if row.is_start and row.accuracy is not None), default=max(values))
    low, high = min(floor_of(values), start), max(values)
    air = max((high - low) * 0.08, 0.5)
    return max(low - air, min(low, 0.0)), min(high + air, max(high, 100.0))


def is_below(scale: Scale, value: float) -> bool:
    """Return whether a value lies under the axis."""
    return value < scale.low
