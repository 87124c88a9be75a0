"""What Prefect's page shows of a search while it runs: how far it is, who leads, who fell where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact

if TYPE_CHECKING:
    from llmastool.archive import Entry

LEADERS = 20
"""Rows of the leaderboard."""


class Board:
    """The artifacts of one run of a search: a progress bar, a leaderboard, and the failures by gate."""

    def __init__(self, name: str) -> None:
        """Begin with nothing shown.

        Args:
            name: of the search, in lower-case letters, digits and dashes; artifacts of one name are versions of one.
        """
        self._name = name
        self._bar: UUID | None = None

    def progress(self, share: float, said: str) -> None:
        """Move the bar.

        Args:
            share: of the search that is done, 0 to 1.
            said: what is under way.
        """
        percent = round(100 * min(max(share, 0.0), 1.0), 1)
        if self._bar is None:
            self._bar = UUID(str(create_progress_artifact(percent, f"progress-{self._name}", said)))
        else:
            update_progress_artifact(self._bar, percent, said)

    def tables(self, entries: Sequence[Entry]) -> None:
        """Show the leaders and the failures among all candidates so far."""
        create_table_artifact(leaders(entries), f"leaderboard-{self._name}", "The best by validation accuracy.")
        create_table_artifact(fallen(entries), f"failures-{self._name}", "Where candidates fell, and why.")


def leaders(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return the candidates of the highest validation accuracy, the best first."""
    trained = sorted((e for e in entries if e.accuracy is not None), key=lambda e: -(e.accuracy or 0.0))
    return [
        {
            "rank": rank,
            "network": entry.candidate.name,
            "validation accuracy (%)": round(entry.accuracy or 0.0, 2),
            "parameters": entry.profile.parameters if entry.profile is not None else None,
            "multiply-adds": entry.profile.flops if entry.profile is not None else None,
            "round": entry.candidate.round,
            "change": entry.candidate.change,
        }
        for rank, entry in enumerate(trained[:LEADERS], 1)
    ]


def fallen(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return how many candidates fell at each gate with each message, the most frequent first."""
    counts = Counter(
        (entry.outcome.gate, entry.outcome.message) for entry in entries if entry.outcome.gate not in ("ok", "stopped")
    )
    return [{"gate": gate, "candidates": count, "message": text} for (gate, text), count in counts.most_common()]
