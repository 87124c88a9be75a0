"""The charts of numbers. Each is drawn twice by the page, once wide and once for a narrow screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

from llmastool.outcome import GATES
from llmastool.report.inputs import Archive, Row
from llmastool.report.marks import accuracy_domain, hue, is_below, layers, mark
from llmastool.report.svg import Frame, Scale, el
from llmastool.report.text import percent, plural, si, tick

LANE = 18.0
"""Height of the lane of one gate under the progress chart, in pixels."""


def progress(archive: Archive, best: Row | None, *, width: float) -> Markup:
    """Draw validation accuracy over candidates with the best so far, and under it a lane for every gate that failed."""
    rows = archive.rows
    failed = {row.outcome.gate for row in rows if row.accuracy is None}
    gates: list[str] = [gate for gate in GATES if gate in failed]
    plot = 256.0 if width > 600 else 196.0
    lanes = {gate: plot + 14 + LANE * i for i, gate in enumerate(gates)}
    under = LANE * len(gates) + 8 if gates else 0.0
    frame = Frame(width, plot + under + 44, left=66 if gates else 56, bottom=44 + under)
    x = frame.x(-0.8, len(rows) - 0.2)
    y = frame.y(*accuracy_domain(rows))
    parts = _round_bands(rows, x, frame, plot + under)
    parts += frame.y_axis(y, y.ticks(5), tick, "validation accuracy, %")
    parts += _lanes(lanes, frame)
    parts.append(el("path", class_="sofar", d=best_so_far(rows, lambda row: x(row.order), x, y)))
    for row in layers(rows, best):
        at = lanes[row.outcome.gate] if row.accuracy is None else y(row.accuracy)
        shade = hue(row.candidate.round, 0, max(archive.rounds, 1))
        below = row.accuracy is not None and is_below(y, row.accuracy)
        parts.append(mark(row, archive, best, (x(row.order), at), hue=shade, below=below))
    name, middle = "candidates, in the order of the search", (x.start + x.stop) / 2
    parts.append(el("text", name, class_="label", x=middle, y=frame.height - 6, text_anchor="middle"))
    return frame.draw(parts, class_="progress", label=progress_summary(archive, best))


def progress_summary(archive: Archive, best: Row | None) -> str:
    """Say in a sentence what the progress chart shows."""
    if best is None:
        return f"No candidate of {len(archive.rows)} was trained to the end."
    counts = f"{len(archive.trained)} of {plural(len(archive.rows), 'candidate')} were trained to the end"
    if best.is_start:
        top = percent(best.accuracy)
        return f"The best validation accuracy is {top}, of {best.name} in the start population; {counts}."
    starts = [row.accuracy for row in archive.trained if row.is_start and row.accuracy is not None]
    begin = f"from {percent(max(starts))} in the start population " if starts else ""
    return (
        f"The best validation accuracy went {begin}to {percent(best.accuracy)}, reached by {best.name} "
        f"in round {best.candidate.round}; {counts}."
    )


def _round_bands(rows: Sequence[Row], x: Scale, frame: Frame, floor: float) -> list[Markup]:
    parts: list[Markup] = []
    rounds = sorted({row.candidate.round for row in rows})
    room = (x.stop - x.start) / max(len(rounds), 1)
    every = 1 if room > 52 else 2 if room > 26 else 5
    for number in rounds:
        orders = [row.order for row in rows if row.candidate.round == number]
        left, right = x(min(orders) - 0.5), x(max(orders) + 0.5)
        if number % 2 == 0:
            parts.append(el("rect", class_="band", x=left, y=frame.top, width=right - left, height=floor - frame.top))
        if number % every == 0:
            name = "start" if number == 0 else f"round {number}" if room > 52 else str(number)
            middle = (left + right) / 2
            parts.append(el("text", name, class_="tick", x=middle, y=frame.height - 26, text_anchor="middle"))
    return parts


def _lanes(lanes: Mapping[str, float], frame: Frame) -> list[Markup]:
    parts = []
    for gate, at in lanes.items():
        parts.append(el("line", class_="lane", x1=frame.left, x2=frame.width - frame.right, y1=at, y2=at))
        parts.append(el("text", gate, class_="tick gate", x=frame.left - 8, y=at + 4, text_anchor="end"))
    return parts


def best_so_far(rows: Sequence[Row], at: Callable[[Row], float], x: Scale, y: Scale) -> str:
    """Return a path of the best accuracy so far; `at` says at which pixel of `x` a candidate stands."""
    points: list[tuple[float, float]] = []
    best = float("-inf")
    for row in rows:
        if row.accuracy is not None and row.accuracy > best:
            best = row.accuracy
            points.append((at(row), y(best)))
    return _stairs(points, x.stop)


def _stairs(points: Sequence[tuple[float, float]], stop: float) -> str:
    """Return a path that keeps to a point's height until the next, and to the last one's until `stop`."""
    if not points:
        return "M0 0"
    steps = "".join(f"H{x:.1f}V{y:.1f}" for x, y in points[1:])
    return f"M{points[0][0]:.1f} {points[0][1]:.1f}{steps}H{stop:.1f}"


def pareto(rows: Sequence[Row], cost: str) -> list[Row]:
    """Return the trained rows that no cheaper or equal row beats, by rising cost (`parameters` or `flops`)."""
    front: list[Row] = []
    known = [row for row in rows if row.accuracy is not None and getattr(row, cost)]
    for row in sorted(known, key=lambda r: (getattr(r, cost), -(r.accuracy or 0.0), r.order)):
        if not front or (row.accuracy or 0.0) > (front[-1].accuracy or 0.0):
            front.append(row)
    return front


def tradeoff(archive: Archive, best: Row | None, cost: str, label: str, *, width: float) -> Markup:
    """Draw validation accuracy against `parameters` or `flops` on a logarithmic axis, with the Pareto front.

    At least one candidate must have been trained.
    """
    rows = [row for row in archive.trained if getattr(row, cost)]
    frame = Frame(width, 340.0 if width > 450 else 300.0)
    costs = [float(getattr(row, cost)) for row in rows]
    x = frame.x(min(costs) / 1.25, max(costs) * 1.25, log=True)
    y = frame.y(*accuracy_domain(rows))
    parts = frame.y_axis(y, y.ticks(5), tick, "validation accuracy, %")
    parts += frame.x_axis(x, x.ticks(6 if width > 450 else 4), tick, label)
    front = pareto(rows, cost)
    corners = [(x(getattr(row, cost)), y(row.accuracy or 0.0)) for row in front]
    parts.append(el("path", class_="front", d=_stairs(corners, x.stop)))
    for row in layers(rows, best):
        at = (x(getattr(row, cost)), y(row.accuracy or 0.0))
        shade = hue(row.candidate.round, 0, max(archive.rounds, 1))
        parts.append(mark(row, archive, best, at, hue=shade, below=is_below(y, row.accuracy or 0.0)))
    names = ", ".join(f"{r.name} ({si(getattr(r, cost))}, {percent(r.accuracy)})" for r in front[-4:])
    return frame.draw(parts, class_="tradeoff", label=f"Accuracy against {label}. Pareto front, its dear end: {names}.")
