"""What the search cost: the time of its trainings, and what asking an LLM took. All of it is from the archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmastool.report.inputs import Row

_ENDS = {"ok": "trained to the end", "stopped": "stopped early"}


@dataclass(frozen=True)
class TimeSpent:
    """Candidates that ended alike, and the time that they took."""

    end: str
    """`trained to the end`, `stopped early` or `failed`."""
    candidates: int
    seconds: float


@dataclass(frozen=True)
class Cost:
    """What some candidates cost."""

    candidates: int
    trained: int
    """How many of them were trained to the end."""
    seconds: float
    """Time of their evaluations, one after another, those that failed among them."""
    answers: int
    """Closed questions that an LLM answered. One can take several requests, which the archive does not count."""
    fallbacks: int
    """Questions that `rules` answered in another filler's place."""
    prompt_tokens: int
    completion_tokens: int
    price: float
    """In the currency of the prices."""
    waited: float
    """Time waited for answers, one after another, in seconds."""

    @property
    def asked(self) -> bool:
        """Whether an LLM was asked anything, in vain or not."""
        return bool(self.answers or self.fallbacks or self.tokens)

    @property
    def per_trained(self) -> float | None:
        """Time of all evaluations for each candidate trained to the end, in seconds; None where there is none."""
        return self.seconds / self.trained if self.trained else None

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens."""
        return self.prompt_tokens + self.completion_tokens


def cost(rows: Sequence[Row]) -> Cost:
    """Return what candidates cost together."""
    fills = [row.candidate.fill for row in rows if row.candidate.fill is not None]
    return Cost(
        candidates=len(rows),
        trained=sum(row.outcome.ok for row in rows),
        seconds=sum(row.outcome.seconds for row in rows),
        answers=sum(":" in fill["filler"] for fill in fills),
        fallbacks=sum(bool(fill.get("fallback")) for fill in fills),
        prompt_tokens=sum(fill.get("prompt_tokens", 0) for fill in fills),
        completion_tokens=sum(fill.get("completion_tokens", 0) for fill in fills),
        price=sum(fill.get("cost", 0.0) for fill in fills),
        waited=sum(fill.get("seconds", 0.0) for fill in fills),
    )


def by_round(rows: Sequence[Row]) -> list[tuple[int, Cost]]:
    """Return what every round cost, in order."""
    rounds: dict[int, list[Row]] = {}
    for row in rows:
        rounds.setdefault(row.candidate.round, []).append(row)
    return [(number, cost(members)) for number, members in sorted(rounds.items())]


def by_end(rows: Sequence[Row]) -> list[TimeSpent]:
    """Return where the time of trainings went, by how they ended; the ends that there are, the best first."""
    found = []
    for end in (*_ENDS.values(), "failed"):
        members = [row for row in rows if _ENDS.get(row.outcome.gate, "failed") == end]
        if members:
            found.append(TimeSpent(end, len(members), sum(row.outcome.seconds for row in members)))
    return found
