"""The tables of the page: gates and failures, the registry's funnel, what the planner and the filler did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from llmastool.outcome import GATES
from llmastool.planner.report import Effect
from llmastool.report.inputs import Archive, Row

FUNNEL = ("found", "sliced", "loaded", "built", "forward", "backward", "contract")
"""The stages that a mined class passes, in order."""


@dataclass(frozen=True)
class GateCount:
    """One gate: how many candidates came to it and how many fell."""

    gate: str
    reached: int
    fell: int


@dataclass(frozen=True)
class Failure:
    """Candidates that fell at one gate with one message."""

    gate: str
    message: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class FunnelRow:
    """One source, or all: how many classes were left after each stage."""

    name: str
    detail: str
    """Kind, version and licence of the source, for a reader."""
    counts: tuple[int, ...]
    """One for each stage of `FUNNEL`."""


@dataclass(frozen=True)
class PlanGroup:
    """Plans that have something in common."""

    name: str
    plans: int
    trained: int
    improved: int
    """How many were better than their parents."""
    expected: float | None
    """Mean predicted gain of the plans that the posterior scored, in points; None when there is none."""
    came: float | None
    """Mean gain that came, in points; None when none was trained."""
    best: float | None
    """Largest gain that came, in points."""


@dataclass(frozen=True)
class FillerUse:
    """What one filler did."""

    name: str
    answers: int
    fallbacks: int
    """How many of these answers stood in for another filler's."""
    tokens: int
    """Prompt and completion tokens."""
    cost: float
    """In the currency of the prices."""
    seconds: float
    """Time waited for answers."""


def gates(rows: Sequence[Row]) -> list[GateCount]:
    """Return the gates in their order, from the cheapest, with how many candidates reached and failed each."""
    fell = Counter(row.outcome.gate for row in rows)
    left, counts = len(rows), []
    for gate in GATES:
        if gate not in ("ok", "stopped"):
            counts.append(GateCount(gate, left, fell[gate]))
            left -= fell[gate]
    return counts


def failures(rows: Sequence[Row]) -> list[Failure]:
    """Return the failures grouped by gate and message, the most frequent first."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.outcome.gate not in ("ok", "stopped"):
            groups.setdefault((row.outcome.gate, row.outcome.message), []).append(row)
    found = [Failure(gate, message, tuple(members)) for (gate, message), members in groups.items()]
    return sorted(found, key=lambda f: (-len(f.rows), f.gate, f.message))


def funnel(summary: Mapping[str, Any]) -> list[FunnelRow]:
    """Return the registry's funnel for every source, and for all together where there are several."""
    rows = []
    for source in summary["sources"]:
        detail = " · ".join(str(source[key]) for key in ("kind", "version", "licence") if source.get(key))
        rows.append(FunnelRow(source["name"], detail, tuple(source[stage] for stage in FUNNEL)))
    if len(rows) > 1:
        totals = tuple(sum(column) for column in zip(*(row.counts for row in rows), strict=True))
        rows.append(FunnelRow("all sources", "", totals))
    return rows


def plan_groups(archive: Archive, key: str, scored: Collection[str]) -> list[PlanGroup]:
    """Return plans grouped by a field of `Plan`, the largest group first.

    Args:
        archive: the search.
        key: field of the plan, e.g. `family`.
        scored: reasons of the plans whose predicted gain comes from a model; that of others is left out.
    """
    groups: dict[str, list[Row]] = {}
    for row in archive.rows:
        if row.candidate.plan is not None:
            groups.setdefault(str(row.candidate.plan[key]), []).append(row)
    found = []
    for name, rows in groups.items():
        gains = [gain for row in rows if (gain := archive.gain(row)) is not None]
        plans = [row.candidate.plan or {} for row in rows]
        expected = [plan["expected_gain"] for plan in plans if plan["reason"] in scored]
        found.append(
            PlanGroup(
                name=name,
                plans=len(rows),
                trained=sum(row.outcome.ok for row in rows),
                improved=sum(gain > 0 for gain in gains),
                expected=_mean(expected),
                came=_mean(gains),
                best=max(gains, default=None),
            )
        )
    return sorted(found, key=lambda g: (-g.plans, g.name))


def fillers(rows: Sequence[Row]) -> list[FillerUse]:
    """Return who answered the open questions, and what that cost."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for fill in _fills(rows):
        groups.setdefault(fill["filler"], []).append(fill)
    return [
        FillerUse(
            name=name,
            answers=len(fills),
            fallbacks=sum(bool(fill.get("fallback")) for fill in fills),
            tokens=sum(fill.get("prompt_tokens", 0) + fill.get("completion_tokens", 0) for fill in fills),
            cost=sum(fill.get("cost", 0.0) for fill in fills),
            seconds=sum(fill.get("seconds", 0.0) for fill in fills),
        )
        for name, fills in sorted(groups.items())
    ]


def fallbacks(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """Return why a filler could not answer and `rules` did, the most frequent reason first."""
    counts = Counter(fill["fallback"] for fill in _fills(rows) if fill.get("fallback"))
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


@dataclass(frozen=True)
class BiasRow:
    """How far an LLM's picks are from chance in one respect."""

    what: str
    picks: int
    distance: float
    """Share of the picks that would have to be others."""
    chance: float
    """That share on average if picks are by chance."""
    p: float
    favourite: str
    """What was picked most beyond chance, and how often."""


_BIASES = {
    "position": "place at which a choice was shown",
    "list": "place in the list before it was shuffled",
    "module": "module",
    "family": "family",
}


def biases(bias: Mapping[str, Mapping[str, Any]]) -> list[BiasRow]:
    """Return what an LLM preferred whatever it was asked."""
    found = []
    for key, what in _BIASES.items():
        if key in bias:
            row = bias[key]
            first = row["preferences"][0]
            favourite = (
                f"{first['label'] or 'none'}: {first['picked']} of {row['picks']}, by chance {first['expected']:.1f}"
            )
            found.append(BiasRow(what, row["picks"], row["distance"], row["chance"], row["p"], favourite))
    return found


def flat(report: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the plain values of a nested mapping by dotted name; lists are left out."""
    values: dict[str, Any] = {}
    for key, value in report.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            values.update(flat(value, f"{name}."))
        elif not isinstance(value, list):
            values[name] = value
    return values


def columns(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of all values of several reports, in the order in which they first occur."""
    return list(dict.fromkeys(name for report in reports for name in flat(report)))


def _fills(rows: Sequence[Row]) -> list[Mapping[str, Any]]:
    return [row.candidate.fill for row in rows if row.candidate.fill is not None]


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def ends(effects: Sequence[Effect], best: int = 8, worst: int = 4) -> list[Effect]:
    """Return the best and the worst of effects that come in order; all where there are few."""
    return [*effects] if len(effects) <= best + worst else [*effects[:best], *effects[-worst:]]
