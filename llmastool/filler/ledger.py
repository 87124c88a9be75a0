"""The ledger: every exchange with a filler, one JSON line each, from which a search can be replayed without an LLM."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from llmastool.canonical import Json, append_line
from llmastool.errors import LLMasToolError
from llmastool.filler.question import Fill, Question

MAX_REPLY = 20_000
"""Longest raw reply that is kept, in characters."""


class LedgerError(LLMasToolError):
    """A ledger cannot be read, or does not fit the question that is asked."""


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A question with its answer, and what went over the wire for it."""

    question: Question
    fill: Fill
    messages: tuple[Mapping[str, str], ...] = ()
    """What was sent; empty when nothing was."""
    reply: str = ""
    """What came back, raw; empty when nothing did."""


class Ledger:
    """The exchanges of one search, in memory and in a file. Safe to use from several threads of one process."""

    def __init__(self, path: Path) -> None:
        """Open a ledger; a missing file is an empty one.

        Raises:
            LedgerError: a line is no exchange. A last line that a crash tore is dropped instead: its question will
                be asked again.
        """
        self.path = path
        self._lock = threading.Lock()
        self._fills: dict[str, Fill] = {}
        self.calls = 0
        """How many of the questions were put to an LLM."""
        _drop_torn_line(path)
        for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else (), start=1):
            try:
                entry = json.loads(line)
                fill, asked = Fill(**entry["fill"]), bool(entry["messages"])
            except (ValueError, TypeError, KeyError) as error:
                raise LedgerError(
                    f"{path}, line {number}: expected a filler's exchange as JSON, got {line[:60]!r} ({error}); "
                    "restore the file, or move it away to ask again"
                ) from None
            self._remember(fill, asked)

    def find(self, question: Question) -> Fill | None:
        """Return the recorded answer to a question, or None.

        Raises:
            LedgerError: the recorded key is none of the question's choices.
        """
        with self._lock:
            fill = self._fills.get(question.id)
        keys = [choice.key for choice in question.choices]
        if fill is not None and fill.key not in keys:
            raise LedgerError(
                f"{self.path}: question {question.id} was answered with {fill.key!r}, expected one of {keys}; "
                "the file was changed: restore it, or move it away to ask again"
            )
        return fill

    def answer(self, question: Question) -> Fill:
        """Return the answer to a question that has been recorded."""
        fill = self.find(question)
        assert fill is not None, question.id
        return fill

    def settle(self, questions: Sequence[Question], answer: Callable[[Question], Fill]) -> list[Fill]:
        """Return the answers to questions, in order; what is not known yet is answered by `answer`, and recorded.

        Raises:
            OSError: the disk is full or the file cannot be written.
            LedgerError: a recorded key is none of the question's choices.
        """
        for question in questions:
            if self.find(question) is None:
                self.record(Exchange(question=question, fill=answer(question)))
        return [self.answer(question) for question in questions]

    def record(self, exchange: Exchange) -> None:
        """Append an exchange, and wait until it is on disk.

        Raises:
            OSError: the disk is full or the file cannot be written.
        """
        with self._lock:
            append_line(self.path, _entry(exchange))
            self._remember(exchange.fill, bool(exchange.messages))

    def _remember(self, fill: Fill, asked: bool) -> None:
        self._fills[fill.question] = fill
        self.calls += asked


def _entry(exchange: Exchange) -> Json:
    return {
        "question": asdict(exchange.question),
        "messages": [dict(message) for message in exchange.messages],
        "reply": exchange.reply[:MAX_REPLY],
        "fill": exchange.fill.to_json(),
    }


def _drop_torn_line(path: Path) -> None:
    """Cut off what stands behind the last newline, lest the next line be appended to it."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
