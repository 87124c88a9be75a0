"""The ledger: every exchange with a filler, one JSON line each, from which a search can be replayed without an LLM."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
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
class Turn:
    """One time that a question was put to an LLM, in one order of its choices."""

    model: str
    order: tuple[str, ...]
    """Keys of the choices, as they were shown."""
    key: str | None
    """What was picked; None where there was no valid answer."""
    value: int = 0
    """Which value of what that leaves free."""
    reason: str = ""
    """Why there was none."""
    messages: tuple[Mapping[str, str], ...] = ()
    """What was sent; empty when nothing was."""
    reply: str = ""
    """What came back, raw; empty when nothing did."""
    requests: int = 0
    """HTTP requests, retries included."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A question with its answer, and what went over the wire for it."""

    question: Question
    fill: Fill
    turns: tuple[Turn, ...] = ()
    """One for each order in which an LLM was asked; none where it was not."""

    def to_json(self) -> Json:
        """Return a JSON value that `from_json` reads back, long replies cut."""
        turns = [{**asdict(turn), "reply": turn.reply[:MAX_REPLY]} for turn in self.turns]
        return {"question": asdict(self.question), "fill": self.fill.to_json(), "turns": turns}

    @staticmethod
    def from_json(value: Json) -> Exchange:
        """Read what `to_json` wrote."""
        turns = [{**t, "order": tuple(t["order"]), "messages": tuple(t["messages"])} for t in value["turns"]]
        return Exchange(
            question=Question.from_json(value["question"]),
            fill=Fill(**value["fill"]),
            turns=tuple(Turn(**turn) for turn in turns),
        )


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
        self.requests = 0
        """How many requests the questions took."""
        self.cost = 0.0
        """What they cost."""
        _drop_torn_line(path)
        for exchange in exchanges(path):
            self._remember(exchange)

    def find(self, question: Question) -> Fill | None:
        """Return the recorded answer to a question, or None.

        Raises:
            LedgerError: the recorded key is none of the question's choices.
        """
        with self._lock:
            fill = self._fills.get(question.id)
        if fill is None:
            return None
        open_ = {c.key: len(c.free.values) if c.free is not None else 1 for c in question.choices}
        if fill.key not in open_ or not 0 <= fill.value < open_[fill.key]:
            raise LedgerError(
                f"{self.path}: question {question.id} was answered with {fill.key!r}, value {fill.value}, expected one "
                f"of {list(open_)}; the file was changed: restore it, or move it away to ask again"
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
            append_line(self.path, exchange.to_json())
            self._remember(exchange)

    def _remember(self, exchange: Exchange) -> None:
        self._fills[exchange.question.id] = exchange.fill
        self.requests += sum(turn.requests for turn in exchange.turns)
        self.cost += sum(turn.cost for turn in exchange.turns)


def exchanges(path: Path) -> Iterator[Exchange]:
    """Yield the exchanges in the file of a ledger, in the order in which they were recorded; a missing file has none.

    Raises:
        LedgerError: a line is no exchange.
    """
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else (), start=1):
        try:
            yield Exchange.from_json(json.loads(line))
        except (ValueError, TypeError, KeyError) as error:
            raise LedgerError(
                f"{path}, line {number}: expected a filler's exchange as JSON, got {line[:60]!r} ({error}); "
                "restore the file, or move it away to ask again"
            ) from None


def _drop_torn_line(path: Path) -> None:
    """Cut off what stands behind the last newline, lest the next line be appended to it."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
