"""A search as it runs, on a terminal: rounds, candidates in flight, the best so far, gates, time and cost left.

Where the output is no terminal, one line for every round.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmastool.cli.output import clean

if TYPE_CHECKING:
    from rich.console import RenderableType

    from llmastool.archive import Entry
    from llmastool.candidate import Candidate
    from llmastool.outcome import Outcome
    from llmastool.search import Search

REFRESH = 2.0
"""Times a second that the terminal is drawn."""


@dataclass
class State:
    """What is shown of a search."""

    rounds: int
    """Rounds in all, the start population not counted."""
    per_round: int
    round: int = 0
    entries: Sequence[Entry] = ()
    """What is known of every candidate."""
    waiting: int = 0
    """Candidates of the round that no training began for."""
    cost: float = 0.0
    """Spent on an LLM."""
    most: float | None = None
    """That may be spent; None for no limit."""
    doing: str = ""
    """What is done beside the trainings, or while nothing is trained."""
    flying: dict[int, tuple[Candidate, float]] = field(default_factory=dict)
    """Candidates that are being trained, and since when, by their number among those that were asked for."""
    started: float = field(default_factory=time.monotonic)

    @property
    def best(self) -> Entry | None:
        """The best candidate so far."""
        trained = [entry for entry in self.entries if entry.accuracy is not None]
        return max(trained, key=lambda entry: entry.accuracy or 0.0, default=None)

    def left(self, workers: int) -> float | None:
        """Return the seconds that are left, by the trainings that ended; None while there is none."""
        seconds = [entry.outcome.seconds for entry in self.entries if entry.outcome.seconds]
        if not seconds:
            return None
        rest = self.waiting + len(self.flying) + self.per_round * max(self.rounds - self.round, 0)
        return rest * sum(seconds) / len(seconds) / workers


class Live:
    """Shows a search."""

    def __init__(self, search: Search) -> None:
        self.search, self._lock = search, threading.Lock()
        self._asked: list[Candidate] = []
        config = search.params
        self.state = State(rounds=config.search.rounds, per_round=config.search.per_round, most=config.filler.max_cost)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw the state again and again while this lasts; where there is no terminal, draw nothing."""
        if not sys.stdout.isatty():
            yield
            return
        from rich.live import Live as Screen

        with Screen(get_renderable=self.draw, refresh_per_second=REFRESH, transient=True):
            yield

    def doing(self, what: str) -> None:
        """Say what is done now."""
        with self._lock:
            self.state.doing = what
            self.state.round = self.search.round
            self.state.entries = self.search.entries()
            fills = [entry.candidate.fill or {} for entry in self.state.entries]
            self.state.cost = sum(fill.get("cost", 0.0) for fill in fills)

    def asked(self, candidates: Sequence[Candidate]) -> None:
        """Take in what is to be trained."""
        with self._lock:
            self.state.doing, self.state.waiting, self._asked = "", len(candidates), list(candidates)

    def begins(self, number: int) -> None:
        """Take in that the training of one of those that were asked for began."""
        with self._lock:
            self.state.waiting -= 1
            self.state.flying[number] = self._asked[number], time.monotonic()

    def ends(self, number: int, outcome: Outcome) -> None:
        """Take in that it ended."""
        del outcome
        with self._lock:
            self.state.flying.pop(number, None)

    def line(self) -> str:
        """Return the state in one line."""
        state = self.state
        gates = Counter(entry.outcome.gate for entry in state.entries)
        best = state.best
        top = f"best {best.accuracy:.2f}% ({best.candidate.name})" if best is not None else "none trained yet"
        fell = ", ".join(f"{count} {gate}" for gate, count in sorted(gates.items()) if gate != "ok")
        return (
            f"round {min(state.round, state.rounds)} of {state.rounds}: {len(state.entries)} candidates, "
            + ", ".join(part for part in (f"{gates['ok']} trained", fell, top) if part)
        )

    def draw(self) -> RenderableType:
        """Return the state as it is drawn."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            state, now = self.state, time.monotonic()
            head = Text(self.line(), style="bold")
            table = Table.grid(padding=(0, 2))
            for candidate, began in state.flying.values():
                what = clean(f"{candidate.name}  {candidate.change}")
                table.add_row(Text(f"{now - began:5.0f} s", style="cyan"), Text(what[:110]))
            if state.waiting:
                table.add_row("", Text(f"{state.waiting} more to train", style="dim"))
            if state.doing:
                table.add_row("", Text(state.doing, style="dim"))
            left = state.left(self.search.params.training.workers)
            times = f"{_span(now - state.started)} so far" + (f", about {_span(left)} left" if left is not None else "")
            money = f"; {state.cost:.2f} spent" + (f" of {state.most:.2f}" if state.most else "") if state.cost else ""
            return Group(head, table, Text(times + money, style="dim"))


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
