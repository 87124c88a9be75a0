from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from llmastool.filler.choose import make_filler
from llmastool.filler.config import FillerConfig
from llmastool.filler.posterior import PosteriorFiller, best
from llmastool.filler.question import Free, Question
from llmastool.filler.rules import draw
from tests.filler.conftest import KEY


def _worth(question: Question, worths: Sequence[float | None]) -> Question:
    known = [() if worth is None else (worth,) for worth in worths]
    choices = tuple(replace(c, worths=worth) for c, worth in zip(question.choices, known, strict=True))
    return replace(question, choices=choices)


@pytest.mark.parametrize(
    ("worths", "key"),
    [((0.1, 2.5, 0.3), "k1"), ((-1.0, -3.0, -2.0), "k0"), ((0.5, 0.5, 0.1), "k0"), ((None, 0.0, None), "k1")],
)
def test_it_takes_the_highest_worth(ask: Callable[..., Question], worths: tuple[float | None], key: str) -> None:
    fills = [best(_worth(ask(seed), worths)) for seed in range(20)]
    assert {(fill.key, fill.filler, fill.fallback) for fill in fills} == {(key, "posterior", "")}


def test_it_takes_the_best_value_of_what_a_choice_leaves_free(ask: Callable[..., Question]) -> None:
    first, second, third = ask().choices
    free = Free(name="kernel_size", values=(3, 5, 7))
    choices = (
        replace(first, worths=(1.0,)),
        replace(second, free=free, worths=(0.0, 0.5, 2.0)),
        replace(third, worths=(1.5,)),
    )
    fill = best(replace(ask(), choices=choices))
    assert (fill.key, fill.value) == ("k1", 2)
    assert fill.rationale == "the planner expects most of it: 2 of 5; the next 1.5"


def test_it_says_by_how_much(ask: Callable[..., Question]) -> None:
    said = best(_worth(ask(), (0.1, 2.5, 0.3))).rationale
    assert said == "the planner expects most of it: 2.5 of 3; the next 0.3"


def test_where_the_planner_believes_nothing_it_draws_and_says_so(ask: Callable[..., Question]) -> None:
    fill = best(ask(3))
    assert (fill.key, fill.filler, fill.fallback) == (draw(ask(3)).key, "rules", "the planner believes nothing yet")


def test_it_is_asked_for_by_name_whatever_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert isinstance(make_filler(FillerConfig(kind="posterior"), tmp_path / "l.jsonl"), PosteriorFiller)


def test_worths_are_no_part_of_what_is_asked(ask: Callable[..., Question], tmp_path: Path) -> None:
    """A ledger replays on a machine whose last digits differ."""
    filler = make_filler(FillerConfig(kind="posterior"), tmp_path / "l.jsonl")
    (first,) = filler.fill([_worth(ask(), (1.0, 2.0, 0.0))])
    again = make_filler(FillerConfig(kind="posterior"), tmp_path / "l.jsonl")
    assert again.fill([_worth(ask(), (1.0, 0.999, 0.0))]) == [first]
    assert ask(1).id != ask(2).id != _worth(ask(1), (0.0, 0.0, 0.0)).id == ask(1).id
