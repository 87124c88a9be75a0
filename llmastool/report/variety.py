"""How varied the search was, round by round, as charts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from llmastool.diversity import Diversity
from llmastool.report.marks import shape
from llmastool.report.svg import Frame, Scale, el
from llmastool.report.text import fixed, plural, tick


def in_use(rounds: Sequence[Diversity], *, width: float) -> Markup:
    """Draw how many modules and families came into use. There must be at least one round."""
    frame = Frame(width, 240.0)
    x, y = _x(rounds, frame), frame.y(0.0, 1.08 * max(d.modules for d in rounds) or 1.0)
    parts = [*frame.y_axis(y, y.ticks(5), tick, "in use so far"), *_x_axis(rounds, x, frame)]
    for name in ("modules", "families"):
        values = [getattr(d, name) for d in rounds]
        parts += _line(rounds, values, [f"{name} in use so far: {value}" for value in values], x, y, name)
    return frame.draw(parts, class_="variety", label=summary(rounds))


def apart(rounds: Sequence[Diversity], *, width: float) -> Markup:
    """Draw how far apart the networks of each round lie. There must be at least one round."""
    frame = Frame(width, 240.0)
    top = max((d.distance for d in rounds if d.distance is not None), default=0.0)
    x, y = _x(rounds, frame), frame.y(0.0, min(1.0, 1.15 * top) or 1.0)
    parts = [*frame.y_axis(y, y.ticks(5), tick, "mean distance of two"), *_x_axis(rounds, x, frame)]
    said = [f"mean distance {fixed(d.distance, 3)}" for d in rounds]
    parts += _line(rounds, [d.distance for d in rounds], said, x, y, "distance")
    return frame.draw(parts, class_="variety", label=summary(rounds))


def summary(rounds: Sequence[Diversity]) -> str:
    """Say in a sentence or two how varied the search was."""
    if not rounds:
        return "The archive does not say how varied the search was: it holds no candidate, or is of an older version."
    first, last = rounds[0], rounds[-1]
    used = f"{plural(last.modules, 'distinct module')} of {_families(last)} came into use"
    if len(rounds) > 1:
        used += f", {first.modules} of them of {_families(first)} in {_called(first)}"
    known = [d for d in rounds if d.distance is not None]
    if not known:
        return f"{used}. No round has two networks to compare."
    far = f"Two networks of one round lie {fixed(known[0].distance)} apart on average in {_called(known[0])}"
    far += f" and {fixed(known[-1].distance)} in {_called(known[-1])}" if len(known) > 1 else ""
    return f"{used}. {far} (0: the same subtrees, 1: none in common)."


def _families(round_: Diversity) -> str:
    return f"{round_.families} {'family' if round_.families == 1 else 'families'}"


def _called(round_: Diversity) -> str:
    return "the start population" if round_.round == 0 else f"round {round_.round}"


def _x(rounds: Sequence[Diversity], frame: Frame) -> Scale:
    return frame.x(rounds[0].round - 0.3, rounds[-1].round + 0.3)


def _x_axis(rounds: Sequence[Diversity], x: Scale, frame: Frame) -> list[Markup]:
    every = math.ceil(len(rounds) / 10)
    shown = [float(d.round) for d in rounds if d.round % every == 0]
    return frame.x_axis(x, shown, lambda value: "start" if value == 0 else tick(value), "round")


def _line(
    rounds: Sequence[Diversity], values: Sequence[float | None], said: Sequence[str], x: Scale, y: Scale, class_: str
) -> list[Markup]:
    """Draw values over rounds, each as a point that says what it is; the line has a gap where there is none."""
    path, points, pen = "", [], "M"
    for round_, value, words in zip(rounds, values, said, strict=True):
        if value is None:
            pen = "M"
            continue
        at, height = x(round_.round), y(value)
        path += f"{pen}{at:.1f} {height:.1f}"
        pen = "L"
        title = el("title", f"{_called(round_)}: {words}")
        points.append(el("path", title, class_=f"point {class_}", d=shape("dot", at, height)))
    return [el("path", class_=f"line {class_}", d=path or "M0 0"), *points]
