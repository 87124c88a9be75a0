"""How far a search came: its rounds and what became of their candidates, rebuilt from its events alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from llmastool.archive import Entry
from llmastool.candidate import Candidate
from llmastool.canonical import Json
from llmastool.curves import Curve, expected
from llmastool.halving import HalvingConfig, going_on
from llmastool.outcome import Outcome
from llmastool.planner.plan import Option, Record
from llmastool.trees.profile import Profile

Proposed: TypeAlias = tuple[Candidate, Profile | None]
"""A candidate, and its profile where it has one."""


class Progress:
    """What the events of a search say, taken in one after another."""

    def __init__(self, ends: Sequence[int], halving: HalvingConfig) -> None:
        """Begin with nothing.

        Args:
            ends: epochs after which trainings are looked at, the last of them all that there are.
            halving: who goes on from each.
        """
        self.rounds: list[Json] = []
        """What is told of the rounds so far: the planner's report and the counts of the pool; of the first, nothing."""
        self.planned: Json = None
        """The event by which the next round was planned ahead; None where it was not."""
        self.outcomes: dict[str, Outcome] = {}
        """What is known of candidates, by their ids."""
        self._ends, self._halving = ends, halving
        self._proposed: list[list[Proposed]] = []
        self._rung, self._chosen = 0, set[str]()

    def take(self, event: Json) -> None:
        """Take in what was planned ahead or asked for, or what was told of a candidate."""
        match event["event"]:
            case "planned":
                self.planned = event
            case "asked":
                self._begin(self.planned or event)  # what was planned ahead is not said again
            case "told":
                self._hear([event["outcome"]])

    def _begin(self, asked: Json) -> None:
        self.planned = None
        self.rounds.append({name: asked[name] for name in ("report", "pool") if name in asked})
        self._proposed.append([_read(proposed) for proposed in asked["candidates"]])
        # The start population is trained to the end: by its curves others are judged.
        self._rung = 0 if len(self._proposed) > 1 else len(self._ends) - 1
        self._chosen = {candidate.id for candidate in self.last()}
        self._hear(asked["fallen"])

    def _hear(self, outcomes: Sequence[Json]) -> None:
        self.outcomes |= {o["candidate"]: Outcome.from_json(o) for o in outcomes}
        while self._rung < len(self._ends) - 1 and not self.waiting():
            self._choose()

    def _choose(self) -> None:
        """Choose who of the round goes on from the rung at which all of it is."""
        rung = self._ends[self._rung]
        curves = {c.id: self._curve(c) for c in self.candidates() if c.id in self.outcomes}
        worth = expected(curves, rung) or {name: c.at[rung] for name, c in curves.items() if rung in c.at}
        ended = {name: c.end for name, c in curves.items() if c.end is not None and rung in c.at}
        here = [c.id for c in self.last() if c.id in self._chosen and c.id in worth]
        pairs = [(worth[name], end) for name, end in ended.items()]
        self._chosen = set(going_on(self._halving, {**worth, **ended}, here, pairs))
        self._rung += 1

    def _curve(self, candidate: Candidate) -> Curve:
        outcome = self.outcomes[candidate.id]
        ended = len(outcome.curve) == self._ends[-1]
        end = outcome.curve[-1]["validation_accuracy"] if ended else None
        return Curve(candidate.parent, self._at_rungs(outcome), end)

    def _at_rungs(self, outcome: Outcome) -> dict[float, float]:
        """Return the accuracies at the rungs that a candidate came to, by epochs."""
        curve = outcome.curve
        return {rung: curve[rung - 1]["validation_accuracy"] for rung in self._ends[:-1] if rung <= len(curve)}

    @property
    def round(self) -> int:
        """The round that is under way; 0 is the start population."""
        return len(self.rounds) - 1 if self.rounds and self.waiting() else len(self.rounds)

    @property
    def until(self) -> int:
        """Epochs to which the round under way is trained."""
        return self._ends[self._rung]

    def last(self) -> list[Candidate]:
        """Return the candidates of the last round that was asked for; none before the first."""
        return [candidate for candidate, _ in self._proposed[-1]] if self._proposed else []

    def waiting(self) -> list[Candidate]:
        """Return the candidates of the last round that are still to be trained to the rung at which the round is."""
        return [c for c in self.last() if c.id in self._chosen and epochs(self.outcomes.get(c.id)) < self.until]

    def settled(self, candidate: Candidate) -> bool:
        """Whether what became of a candidate is the last of it: it is not trained on."""
        outcome = self.outcomes.get(candidate.id)
        return outcome is not None and (outcome.gate != "stopped" or candidate.id not in self._chosen)

    def start(self) -> list[Proposed]:
        """Return the start population."""
        return self._proposed[0]

    def pending(self, since: int) -> list[Option]:
        """Return what was chosen in a round and those after it, as it stood to choose from."""
        return [_chosen(candidate, profile) for members in self._proposed[since:] for candidate, profile in members]

    def candidates(self) -> list[Candidate]:
        """Return all candidates, in the order in which they were proposed."""
        return [candidate for members in self._proposed for candidate, _ in members]

    def entries(self, before: int | None = None) -> list[Entry]:
        """Return all evaluated candidates, in that order; if `before` is given, of the rounds before that one."""
        return [
            Entry(candidate, profile, self.outcomes[candidate.id])
            for members in self._proposed[:before]
            for candidate, profile in members
            if candidate.id in self.outcomes
        ]

    def records(self, *, timed: bool, before: int | None = None) -> list[Record]:
        """Return what a strategy is told of the evaluated candidates.

        Args:
            timed: whether it is told of times, which differ from run to run.
            before: only of the rounds before this one, if it is given.
        """
        return [
            Record(
                tree=e.candidate.id,
                profile=e.profile,
                accuracy=e.outcome.metrics.get("validation_accuracy") if e.outcome.ok else None,
                plan=e.candidate.plan,
                partial=self._partial(e.outcome),
                seconds=e.outcome.seconds if timed else None,
            )
            for e in self.entries(before)
        ]

    def _partial(self, outcome: Outcome) -> dict[float, float]:
        """Return the accuracies at the rungs that a candidate came to, by their share of all epochs."""
        if outcome.gate not in ("ok", "stopped"):
            return {}
        return {rung / self._ends[-1]: accuracy for rung, accuracy in self._at_rungs(outcome).items()}


def epochs(outcome: Outcome | None) -> float:
    """Return how many epochs a candidate was trained that may go on; infinite where it is done with."""
    if outcome is None:
        return 0
    return len(outcome.curve) if outcome.gate == "stopped" else math.inf


def proposed(candidate: Candidate, profile: Profile | None) -> Json:
    """Return a candidate as events hold it."""
    return {"candidate": candidate.to_json(), "profile": profile.to_json() if profile is not None else None}


def _read(value: Json) -> Proposed:
    profile = value["profile"]
    return Candidate.from_json(value["candidate"]), Profile.from_json(profile) if profile is not None else None


def _chosen(candidate: Candidate, profile: Profile | None) -> Option:
    plan = candidate.plan
    assert plan is not None and profile is not None, f"{candidate.name}: of the start population"
    coarse = {name: str(plan[name]) for name in ("parent", "slot", "kind", "family", "after")}
    return Option(**coarse, profile=profile, tree=candidate.id)
