"""How the planner's predictions fared against what came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from llmastool.planner.report import CENTRAL, QUOTA, SCORED
from llmastool.report.inputs import Archive, Row
from llmastool.report.marks import is_below, mark
from llmastool.report.svg import Frame, el
from llmastool.report.text import fixed, tick


@dataclass(frozen=True)
class Prediction:
    """One plan that the posterior scored, and what came of it. All gains are in percentage points."""

    row: Row
    expected: float
    """Predicted gain over the parent."""
    spread: float
    """Standard deviation of the prediction."""
    came: float
    """Gain that came."""

    @property
    def inside(self) -> bool:
        """Whether it came within the central 90 % interval of a normal prediction."""
        return abs(self.came - self.expected) <= CENTRAL * self.spread


def predictions(archive: Archive) -> list[Prediction]:
    """Return the predictions that can be judged: made by the posterior, child and parent trained to the end."""
    found = []
    for row in archive.rows:
        plan, came = row.candidate.plan, archive.gain(row)
        if plan and came is not None and plan["reason"] in SCORED:
            found.append(Prediction(row, plan["expected_gain"], plan["spread"], came))
    return found


def chart(points: Sequence[Prediction], archive: Archive, *, width: float) -> Markup:
    """Draw predicted gains against those that came, each with its spread; the dashed line is a perfect prediction.

    There must be at least one prediction.
    """
    frame = Frame(width, 340.0 if width > 450 else 300.0)
    came = sorted(p.came for p in points)
    floor = came[len(came) // 4] - 3 * max(came[-1] - came[len(came) // 4], 0.5)
    predicted = [p.expected for p in points]
    x = frame.x(*_with_air(min(predicted), max(predicted)))
    y = frame.y(*_with_air(max(came[0], floor), max(came[-1], 0.0)))
    parts = frame.y_axis(y, y.ticks(5), tick, "gain that came, points")
    parts += frame.x_axis(x, x.ticks(5), tick, "predicted gain, points")
    low, high = max(x.low, y.low), min(x.high, y.high)
    if high > low:
        parts.append(el("line", class_="ideal", x1=x(low), y1=y(low), x2=x(high), y2=y(high)))
    if y.low < 0 < y.high:
        parts.append(el("line", class_="zero", x1=x.start, x2=x.stop, y1=y(0), y2=y(0)))
    for p in points:
        at = (x(p.expected), y(p.came))
        left, right = x(p.expected - p.spread), x(p.expected + p.spread)
        parts.append(el("line", class_="bar", x1=left, x2=right, y1=at[1], y2=at[1]))
        kind = "quota" if (p.row.candidate.plan or {})["reason"] == QUOTA else "choice"
        parts.append(mark(p.row, archive, None, at, hue=kind, below=is_below(y, p.came)))
    return frame.draw(parts, class_="calibration", label=summary(points))


def summary(points: Sequence[Prediction]) -> str:
    """Say in a sentence how the predictions fared."""
    if not points:
        return "No plan that the posterior scored was trained to the end, next to a parent that was."
    inside = sum(p.inside for p in points)
    error = sum(abs(p.came - p.expected) for p in points) / len(points)
    return (
        f"Of {len(points)} plans scored by the posterior and trained, {inside} came within its 90 % interval "
        f"({CENTRAL} spreads); the mean absolute error was {fixed(error)} points."
    )


def _with_air(low: float, high: float) -> tuple[float, float]:
    air = max((high - low) * 0.1, 0.2)
    return low - air, high + air
