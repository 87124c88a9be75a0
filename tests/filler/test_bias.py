from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from llmastool.filler.bias import Pick, bias, biases
from llmastool.filler.ledger import Exchange, Turn
from llmastool.filler.question import Question
from llmastool.filler.rules import draw


def test_picks_by_chance_show_no_bias() -> None:
    rng = np.random.default_rng(0)
    picks = [Pick(labels=list("abcd"[: 2 + i % 3]), taken=int(rng.integers(2 + i % 3))) for i in range(300)]
    found = bias(picks)
    assert found.picks == 300 and found.p > 0.05 and 0.5 < found.distance / found.chance < 1.6
    assert abs(sum(p.expected for p in found.preferences) - 300) < 1e-9
    assert sum(p.picked for p in found.preferences) == 300


def test_always_the_first_is_a_bias_and_the_first_is_named() -> None:
    found = bias([Pick(labels=list("abcd"), taken=0) for _ in range(20)])
    assert found.distance == 0.75 and found.p < 0.001 and found.chance < 0.3
    first = found.preferences[0]
    assert (first.label, first.picked, first.expected) == ("a", 20, 5.0)


def test_a_label_that_stands_twice_is_expected_twice_as_often() -> None:
    found = bias([Pick(labels=["conv", "conv", "attention", "attention"], taken=i % 4) for i in range(40)])
    assert found.distance == 0.0 and found.p == 1.0
    assert {p.expected for p in found.preferences} == {20.0}


def test_the_order_of_the_ledger_does_not_matter() -> None:
    """Answers are written down as they come, which differs from run to run."""
    rng = np.random.default_rng(1)
    picks = [Pick(labels=list("abcdefg"[: 3 + i % 5]), taken=int(rng.integers(3))) for i in range(60)]
    shuffled = [picks[i] for i in rng.permutation(60)]
    assert bias(picks) == bias(shuffled) == bias(picks[::-1])


def test_what_a_shuffle_leaves_of_a_models_bias(ask: Callable[..., Question]) -> None:
    """A model that always takes what it is shown first: in its turns that is seen, in the fills it is gone."""
    found = []
    for seed in range(120):
        question = ask(seed)
        keys = [choice.key for choice in question.choices]
        order = tuple(np.random.default_rng(seed).permutation(keys).tolist())
        turn = Turn(model="m", order=order, key=order[0])
        found.append(Exchange(question=question, fill=replace(draw(question), key=order[0]), turns=(turn,)))
    measured = biases(found)
    assert measured["position"].p < 0.001 < 0.05 < measured["list"].p
    assert measured["position"].preferences[0].label == "01"


def test_what_rules_answered_says_nothing_of_a_model(ask: Callable[..., Question]) -> None:
    question = ask(0)
    lost = Exchange(
        question=question, fill=replace(draw(question), fallback="down"), turns=(Turn(model="m", order=(), key=None),)
    )
    assert biases([Exchange(question=question, fill=draw(question)), lost]) == {}
