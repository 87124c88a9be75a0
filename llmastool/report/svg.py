"""A little SVG: elements, scales and a frame with axes. Colours come from the page's style sheet, by class."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from llmastool.report.text import clean


def el(name: str, *children: object, **attributes: object) -> Markup:
    """Return an element. Everything that is not markup already is cleaned and escaped.

    Attributes that are None are left out; `class_` is `class`, and other underscores are hyphens.
    """
    parts = [f"<{name}"]
    for key, value in attributes.items():
        if value is not None:
            parts.append(f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"')
    body = "".join(child if isinstance(child, Markup) else escape(_plain(child)) for child in children)
    parts.append(f">{body}</{name}>" if body else "/>")
    return Markup("".join(parts))


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return clean(str(value), limit=1_000_000)


@dataclass(frozen=True)
class Scale:
    """A mapping from values to pixels, linear or logarithmic."""

    low: float
    high: float
    start: float
    """Pixel of `low`."""
    stop: float
    """Pixel of `high`."""
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value; outside the domain, the pixel of its nearest end."""
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, max(value, 1e-12)))
        at = at if self.log else value
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + min(max(share, 0.0), 1.0) * (self.stop - self.start)

    def ticks(self, count: int) -> list[float]:
        """Return about `count` round values within the domain."""
        if self.log:
            return _log_ticks(self.low, self.high, count)
        if self.high <= self.low:
            return [self.low]
        raw = (self.high - self.low) / max(count, 1)
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(i * step, 10) for i in range(first, last + 1)]


def _log_ticks(low: float, high: float, count: int) -> list[float]:
    for steps in ((1.0, 2.0, 3.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [m * 10.0**e for e in exponents for m in steps]
        ticks = [t for t in ticks if low * 0.999 <= t <= high * 1.001]
        if len(ticks) <= count + 1:
            break
    return ticks if len(ticks) > 1 else Scale(low, high, 0.0, 1.0).ticks(count)


@dataclass(frozen=True)
class Frame:
    """The area of a chart, in pixels of its own."""

    width: float
    height: float
    left: float = 56.0
    right: float = 12.0
    top: float = 14.0
    bottom: float = 44.0

    def x(self, low: float, high: float, *, log: bool = False) -> Scale:
        """Return a scale across the frame."""
        return Scale(low, high, self.left, self.width - self.right, log)

    def y(self, low: float, high: float) -> Scale:
        """Return a scale up the frame."""
        return Scale(low, high, self.height - self.bottom, self.top)

    def x_axis(self, scale: Scale, ticks: Sequence[float], write: Callable[[float], str], label: str) -> list[Markup]:
        """Draw tick labels and the axis's name below the frame."""
        floor = self.height - self.bottom
        out = [el("line", class_="axis", x1=self.left, x2=self.width - self.right, y1=floor, y2=floor)]
        for tick in ticks:
            at = scale(tick)
            out.append(el("line", class_="axis", x1=at, x2=at, y1=floor, y2=floor + 4))
            out.append(el("text", write(tick), class_="tick", x=at, y=floor + 17, text_anchor="middle"))
        middle = (self.left + self.width - self.right) / 2
        out.append(el("text", label, class_="label", x=middle, y=floor + 36, text_anchor="middle"))
        return out

    def y_axis(self, scale: Scale, ticks: Sequence[float], write: Callable[[float], str], label: str) -> list[Markup]:
        """Draw grid lines, tick labels and the axis's name at the left of the frame."""
        out = []
        for tick in ticks:
            at = scale(tick)
            out.append(el("line", class_="grid", x1=self.left, x2=self.width - self.right, y1=at, y2=at))
            out.append(el("text", write(tick), class_="tick", x=self.left - 8, y=at + 4, text_anchor="end"))
        middle = (scale.start + scale.stop) / 2
        turn = f"rotate(-90 13 {middle:.1f})"
        out.append(el("text", label, class_="label", x=13, y=middle, text_anchor="middle", transform=turn))
        return out

    def draw(self, parts: Sequence[Markup], *, class_: str, label: str) -> Markup:
        """Return the whole picture; `label` is what a screen reader says of it."""
        return el(
            "svg",
            *parts,
            class_=f"chart {class_}",
            viewBox=f"0 0 {self.width:g} {self.height:g}",
            role="img",
            aria_label=label,
        )
