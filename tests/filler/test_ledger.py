from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from llmastool.filler.ledger import MAX_REPLY, Exchange, Ledger, LedgerError, Turn, exchanges
from llmastool.filler.question import Free, Question
from llmastool.filler.rules import draw


def exchange(question: Question, **changes: object) -> Exchange:
    return replace(Exchange(question=question, fill=draw(question)), **changes)  # type: ignore[arg-type]


def test_what_is_recorded_is_found_after_opening_again(ask: Callable[..., Question], tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ledger.jsonl"
    ledger = Ledger(path)
    turn = Turn(
        model="m", order=("k2", "k0", "k1"), key=None, messages=({"role": "user", "content": "?"},),
        reply="x" * 50_000, requests=2, cost=0.5,
    )  # fmt: skip
    ledger.record(exchange(ask(1), turns=(turn, turn)))
    ledger.record(exchange(ask(2)))
    again = Ledger(path)
    assert again.answer(ask(1)) == draw(ask(1)) and again.find(ask(3)) is None
    assert (ledger.requests, again.requests, ledger.cost, again.cost) == (4, 4, 1.0, 1.0)
    first, second = exchanges(path)
    assert first.question == ask(1) and first.turns == (replace(turn, reply="x" * MAX_REPLY),) * 2
    assert second == exchange(ask(2))


def test_what_a_choice_leaves_free_is_read_back(ask: Callable[..., Question], tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    first, *others = ask().choices
    free = Free(name="kernel_size", values=(3, [5, 5], None))
    question = ask(choices=(replace(first, free=free, worths=(1.0, 2.0, 3.0)), *others))
    Ledger(path).record(exchange(question, fill=replace(draw(question), key="k0", value=2)))
    assert [e.question for e in exchanges(path)] == [question]
    assert Ledger(path).answer(question).value == 2
    Ledger(path).record(exchange(question, fill=replace(draw(question), key="k0", value=3)))
    with pytest.raises(LedgerError, match=r"answered with 'k0', value 3, expected one of"):
        Ledger(path).find(question)


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
    for bad in ("not json\n", "[]\n", '{"fill": {"unknown": 1}, "question": {}, "turns": []}\n'):
        path.write_text(path.read_text().splitlines()[0] + "\n" + bad)
        with pytest.raises(LedgerError, match=r"ledger.jsonl, line 2: expected a filler's exchange"):
            Ledger(path)


def test_a_key_that_is_no_choice_names_the_file(ask: Callable[..., Question], tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    Ledger(path).record(exchange(ask(1), fill=replace(draw(ask(1)), key="gone")))
    with pytest.raises(LedgerError, match=r"ledger.jsonl: question .* answered with 'gone', value 0, expected one of"):
        Ledger(path).find(ask(1))


def test_many_threads_write_whole_lines(ask: Callable[..., Question], tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    with ThreadPoolExecutor(8) as pool:
        turn = Turn(model="m", order=(), key=None, reply="y" * 9000)
        list(pool.map(lambda seed: ledger.record(exchange(ask(seed), turns=(turn,))), range(40)))
    again = Ledger(path)
    assert all(again.find(ask(seed)) is not None for seed in range(40))
