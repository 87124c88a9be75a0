from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from llmastool.filler.ledger import MAX_REPLY, Exchange, Ledger, LedgerError
from llmastool.filler.question import Question
from llmastool.filler.rules import draw


def exchange(question: Question, **changes: object) -> Exchange:
    return replace(Exchange(question=question, fill=draw(question)), **changes)  # type: ignore[arg-type]


def test_what_is_recorded_is_found_after_opening_again(ask: Callable[..., Question], tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ledger.jsonl"
    ledger = Ledger(path)
    sent = ({"role": "user", "content": "?"},)
    ledger.record(exchange(ask(1), messages=sent, reply="x" * 50_000))
    ledger.record(exchange(ask(2)))
    again = Ledger(path)
    assert again.answer(ask(1)) == draw(ask(1)) and again.find(ask(3)) is None
    assert (ledger.calls, again.calls) == (1, 1)
    first = json.loads(path.read_text().splitlines()[0])
    assert len(first["reply"]) == MAX_REPLY and first["question"]["context"] == "slot layer1.0.conv1"


def test_a_torn_last_line_is_dropped_and_written_again(ask: Callable[..., Question], tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    Ledger(path).record(exchange(ask(1)))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    ledger = Ledger(path)
    ledger.record(exchange(ask(2)))
    assert Ledger(path).answer(ask(2)) == draw(ask(2)) and len(path.read_bytes().splitlines()) == 2


def test_a_line_that_is_no_exchange_names_file_and_line(ask: Callable[..., Question], tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    Ledger(path).record(exchange(ask(1)))
    for bad in ("not json\n", "[]\n", '{"fill": {"unknown": 1}, "messages": []}\n'):
        path.write_text(path.read_text().splitlines()[0] + "\n" + bad)
        with pytest.raises(LedgerError, match=r"ledger.jsonl, line 2: expected a filler's exchange"):
            Ledger(path)


def test_a_key_that_is_no_choice_names_the_file(ask: Callable[..., Question], tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    Ledger(path).record(exchange(ask(1), fill=replace(draw(ask(1)), key="gone")))
    with pytest.raises(LedgerError, match=r"ledger.jsonl: question .* answered with 'gone', expected one of"):
        Ledger(path).find(ask(1))


def test_many_threads_write_whole_lines(ask: Callable[..., Question], tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: ledger.record(exchange(ask(seed), reply="y" * 9000)), range(40)))
    again = Ledger(path)
    assert all(again.find(ask(seed)) is not None for seed in range(40))
