"""Accuracy over the time that trainings took, with what the posterior predicted beside what came."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from markupsafe import Markup

from llmastool.report.calibration import Prediction
from llmastool.report.charts import best_so_far
from llmastool.report.inputs import Archive, Row
from llmastool.report.marks import accuracy_domain, hue, is_below, layers, mark
from llmastool.report.svg import Frame, Scale, el
from llmastool.report.text import duration, plural, tick, time_unit


def moments(rows: Sequence[Row]) -> list[float]:
    """Return when each candidate was done, in seconds, if all had been evaluated one after another."""
    return list(itertools.accumulate(row.outcome.seconds for row in rows))


def chart(archive: Archive, best: Row | None, points: Sequence[Prediction], *, width: float) -> Markup:
    """Draw validation accuracy over time with the best so far, and a bar for each prediction, one spread to each side.

    At least one candidate must have been trained, and trainings must have taken some time.
    """
    ends = moments(archive.rows)
    unit, name = time_unit(ends[-1])
    frame = Frame(width, 300.0 if width > 600 else 260.0)
    x = frame.x(0.0, ends[-1] / unit * 1.02)
    y = frame.y(*_domain(archive, points))
    at = {row.order: x(end / unit) for row, end in zip(archive.rows, ends, strict=True)}
    parts = frame.y_axis(y, y.ticks(5), tick, "validation accuracy, %")
    parts += frame.x_axis(x, x.ticks(8 if width > 600 else 4), tick, f"training time so far, {name}")
    parts += [bar for p in points if (bar := _bar(p, at[p.row.order], y)) is not None]
    parts.append(el("path", class_="sofar", d=best_so_far(archive.rows, lambda row: at[row.order], x, y)))
    for row in layers(archive.trained, best):
        accuracy = row.accuracy or 0.0
        shade = hue(row.candidate.round, 0, max(archive.rounds, 1))
        place = (at[row.order], y(accuracy))
        parts.append(mark(row, archive, best, place, hue=shade, below=is_below(y, accuracy)))
    return frame.draw(parts, class_="timeline", label=summary(archive, best, points))


def summary(archive: Archive, best: Row | None, points: Sequence[Prediction]) -> str:
    """Say in a few sentences what the chart shows."""
    ends = moments(archive.rows)
    if best is None or not ends[-1]:
        return "There are no times to draw: nothing was trained, or the archive does not say how long it took."
    took = f"Trainings took {duration(ends[-1])} if their times are added up; {best.name} came after "
    took += f"{duration(ends[best.order])}."
    lost = len(archive.rows) - len(archive.trained)
    if lost:
        took += f" The time of {plural(lost, 'candidate')} without a result counts too."
    if not points:
        return took
    near = sum(abs(p.came - p.expected) <= p.spread for p in points)
    return f"{took} Of {plural(len(points), 'prediction')}, {near} came within one spread; two thirds should."


def predicted(point: Prediction) -> float:
    """Return the accuracy that a prediction amounts to, in percent: the parent's and the expected gain."""
    return (point.row.accuracy or 0.0) - point.came + point.expected


def _domain(archive: Archive, points: Sequence[Prediction]) -> tuple[float, float]:
    """Return the ends of the accuracy axis; bold predictions raise it, by half of what it would be at most."""
    low, high = accuracy_domain(archive.trained)
    top = max((predicted(p) + p.spread for p in points), default=high)
    return low, max(high, min(top, high + (high - low) / 2, 100.0))


def _bar(point: Prediction, x: float, y: Scale) -> Markup | None:
    """Draw a prediction; None where all of it lies beside the axis."""
    middle = predicted(point)
    low, high = middle - point.spread, middle + point.spread
    if high <= y.low or low >= y.high:
        return None
    path = f"M{x:.1f} {y(low):.1f}V{y(high):.1f}"
    if y.low < middle < y.high:
        path += f"M{x - 3:.1f} {y(middle):.1f}h6"
    return el("path", class_="bar", d=path)
