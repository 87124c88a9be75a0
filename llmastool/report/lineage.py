"""Who came from whom: the winner's ancestry, and all candidates as a graph with a column for every round."""

from __future__ import annotations

import itertools
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from markupsafe import Markup

from llmastool.report.inputs import Archive, Row
from llmastool.report.marks import floor_of, hue, layers, mark
from llmastool.report.svg import el
from llmastool.report.text import clean, plural
from llmastool.trees.text import diff

GAP = 22.0
"""Distance of two candidates in a column, in pixels."""

TOP, LEFT = 34.0, 28.0
"""Height of the columns' names, and air at the sides, in pixels."""

LEGIBLE = 130.0
"""Least width of a column that has room for words, in pixels; the list beside the graph has them anyway."""

Point: TypeAlias = tuple[float, float]
"""A place in the picture, in pixels."""

Places: TypeAlias = dict[int, list[Point]]
"""Where a candidate's edge passes, by the candidate's order; it stands at the last of them."""


@dataclass(frozen=True)
class Step:
    """One candidate on the way to the winner."""

    row: Row
    gain: float | None
    """Validation accuracy minus its parent's, in points; None where the way begins."""
    changes: tuple[str, ...]
    """What differs from its parent's tree, line by line; see `llmastool.trees.text.diff`."""


def ancestry(archive: Archive, best: Row | None) -> list[Step]:
    """Return the way to the best candidate from the start population, or from a network drawn anew."""
    steps: list[Step] = []
    seen: set[int] = set()
    row = best
    while row is not None and row.order not in seen:
        seen.add(row.order)
        parent = archive.parent(row)
        steps.append(Step(row, archive.gain(row), changes(archive, row)))
        row = parent
    return steps[::-1]


def changes(archive: Archive, row: Row) -> tuple[str, ...]:
    """Return what differs from the parent's tree, line by line; nothing where there is no parent."""
    parent = archive.parent(row)
    return tuple(diff(parent.candidate.tree, row.candidate.tree)) if parent is not None else ()


def columns(archive: Archive, way: Sequence[Row]) -> list[list[Row]]:
    """Return who stands in the column of each round.

    Where an edge of `way` passes a round by, its child stands there too, to keep a free place for the edge.
    """
    rounds = sorted({row.candidate.round for row in archive.rows})
    members = [[row for row in archive.rows if row.candidate.round == number] for number in rounds]
    for parent, child in itertools.pairwise(way):
        for number, rows in zip(rounds, members, strict=True):
            if parent.candidate.round < number < child.candidate.round:
                rows.append(child)
    return members


def place(archive: Archive, members: Sequence[Sequence[Row]], width: float) -> Places:
    """Return where everybody stands.

    Within a column children stand in the order of their parents, which keeps edges from crossing.
    """
    places: Places = {}
    tallest = max(map(len, members), default=0)
    for i, rows in enumerate(members):
        above = {row.order: _above(archive, row, places) for row in rows}
        first = TOP + GAP / 2 + (tallest - len(rows)) * GAP / 2
        for j, row in enumerate(sorted(rows, key=lambda row: (above[row.order], row.order))):
            places.setdefault(row.order, []).append((LEFT + i * width, first + j * GAP))
    return places


def _above(archive: Archive, row: Row, places: Places) -> float:
    """Return the height from which the row's edge comes; -1 where it has none."""
    parent = archive.parent(row)
    came = places.get(row.order) or places.get(parent.order if parent else -1)
    return came[-1][1] if came else -1.0


def graph(archive: Archive, best: Row | None, *, width: float) -> Markup:
    """Draw all candidates and their edges, the best one's ancestry highlighted and its changes written along it."""
    way = [step.row for step in ancestry(archive, best)]
    members = columns(archive, way)
    column = min(max((width - 2 * LEFT) / max(len(members) - 1, 1), 84.0), 300.0)
    places = place(archive, members, column)
    names = [
        el("text", "start" if n == 0 else f"round {n}", class_="tick", x=LEFT + i * column, y=16, text_anchor="middle")
        for i, n in enumerate(sorted({row.candidate.round for row in archive.rows}))
    ]
    parts = [*names, *_edges(archive, places, {row.order for row in way}), *_marks(archive, best, places)]
    if column >= LEGIBLE:
        parts += [_change(row, places, column) for row in way[1:]]
    tall = max((y for points in places.values() for _, y in points), default=TOP) + GAP
    wide = 2 * LEFT + max(len(members) - 1, 0) * column
    return el(
        "svg",
        *parts,
        class_="chart lineage",
        viewBox=f"0 0 {wide:g} {tall:g}",
        width=f"{wide:g}",
        height=f"{tall:g}",
        role="img",
        aria_label=summary(archive, best),
    )


def _edges(archive: Archive, places: Places, way: Container[int]) -> list[Markup]:
    faint, bold = [], []
    for row in archive.rows:
        parent = archive.parent(row)
        if parent is not None:
            points = [places[parent.order][-1], *places[row.order]]
            title = el("title", clean(row.candidate.change, 200))
            if row.order in way:
                bold.append(el("path", title, class_="edge way", d=_curve(points)))
            else:
                faint.append(el("path", title, class_="edge", d=_curve(points)))
    return faint + bold


def _marks(archive: Archive, best: Row | None, places: Places) -> list[Markup]:
    accuracies = [row.accuracy for row in archive.trained if row.accuracy is not None] or [0.0]
    low, high = floor_of(accuracies), max(accuracies)
    return [
        mark(
            row,
            archive,
            best,
            places[row.order][-1],
            hue=hue(row.accuracy if row.accuracy is not None else low, low, high),
            below=False,
        )
        for row in layers(archive.rows, best)
    ]


def summary(archive: Archive, best: Row | None) -> str:
    """Say in a sentence what the graph shows."""
    parents = {row.candidate.parent for row in archive.rows if row.candidate.parent}
    count = plural(len(archive.rows), "candidate")
    drawn = sum(row.candidate.parent is None and not row.is_start for row in archive.rows)
    anew = f", and {drawn} drawn anew" if drawn else ""
    made = f"{count}, made from {plural(len(parents), 'parent')} and a start population{anew}."
    steps = ancestry(archive, best)
    if not steps:
        return f"{made} No candidate was trained to the end."
    if len(steps) == 1 and not steps[0].row.is_start:
        return f"{made} The best was drawn anew: {steps[0].row.candidate.change}."
    if len(steps) == 1:
        return f"{made} The best is {steps[0].row.candidate.change} of the start population itself."
    edits = plural(sum(step.row.edits for step in steps), "edit")
    return f"{made} The best descends from {steps[0].row.candidate.change} in {edits}."


def _curve(points: Sequence[Point]) -> str:
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x1, y1), (x2, y2) in itertools.pairwise(points):
        bend = (x2 - x1) / 2
        path += f"c{bend:.1f} 0 {bend:.1f} {y2 - y1:.1f} {x2 - x1:.1f} {y2 - y1:.1f}"
    return path


def _change(row: Row, places: Places, column: float) -> Markup:
    x, y = places[row.order][-1]
    fits = max(int((column - 24) / 5.6), 8)
    return el("text", clean(row.candidate.change, fits), class_="change", x=x - 8, y=y - 9, text_anchor="end")
