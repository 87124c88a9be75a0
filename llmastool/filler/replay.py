"""The filler that repeats a search that ended: every answer is taken from its ledger, and nobody is asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmastool.filler.ledger import Exchange, Ledger, LedgerError, exchanges
from llmastool.filler.question import Fill, Filler, Question


class ReplayFiller(Filler):
    """Answers as it was answered before; what its own ledger knows comes from there."""

    def __init__(self, ledger: Ledger, source: Path) -> None:
        """Read the ledger that is repeated.

        Raises:
            LedgerError: it is missing, or a line of it is no exchange.
        """
        if not source.is_file():
            raise LedgerError(f"filler.replay: expected the fills.jsonl of a search, found no file {source}")
        self._ledger, self._source = ledger, source
        self._known: dict[str, Exchange] = {exchange.question.id: exchange for exchange in exchanges(source)}

    def fill(self, questions: Sequence[Question]) -> list[Fill]:
        """Answer the questions, in order, one fill each.

        Raises:
            LedgerError: a question was never asked in the search that is repeated.
        """
        for question in questions:
            if self._ledger.find(question) is None:
                if question.id not in self._known:
                    raise LedgerError(
                        f"{self._source}: expected an answer to question {question.id}, found none; this search asks "
                        "something else than that one: seed, data, registry, start, search, planner and training have "
                        "to be the same, and so has the version of this program"
                    )
                self._ledger.record(self._known[question.id])
        return [self._ledger.answer(question) for question in questions]
