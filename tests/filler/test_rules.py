from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from llmastool.filler.ledger import Ledger
from llmastool.filler.question import Choice, Question
from llmastool.filler.rules import RulesFiller, draw


def test_same_question_same_answer_and_other_seeds_differ(ask: Callable[..., Question]) -> None:
    fills = [draw(ask(seed)) for seed in range(40)]
    assert fills == [draw(ask(seed)) for seed in range(40)]
    assert {fill.key for fill in fills} == {"k0", "k1", "k2"}


def test_draws_follow_the_weights(ask: Callable[..., Question]) -> None:
    counts = Counter(draw(ask(seed)).key for seed in range(1200))
    assert abs(counts["k0"] - 200) < 60 and abs(counts["k1"] - 400) < 80 and abs(counts["k2"] - 600) < 80


def test_one_choice_is_taken_and_said(ask: Callable[..., Question], tmp_path: Path) -> None:
    question = ask(choices=(Choice(key="only", text="x"),))
    (fill,) = RulesFiller(Ledger(tmp_path / "ledger.jsonl")).fill([question])
    assert (fill.key, fill.filler, fill.fallback) == ("only", "rules", "")
    assert fill.rationale == "drawn at random by prior weight: 100% for this one of 1"
