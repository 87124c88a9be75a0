"""What a run of a deployment may change: checked as the file is, and seen by Prefect as a form."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.changes import FinalChanges, SearchChanges
from llmastool.errors import ConfigError
from llmastool.params import Params

PARAMS = Params.load(Path(__file__).resolve().parents[2] / "params.yaml")


def test_nothing_changes_by_itself() -> None:
    assert SearchChanges().applied(PARAMS) == PARAMS
    assert FinalChanges().applied(PARAMS) == PARAMS


def test_what_is_named_changes_and_nothing_else() -> None:
    changed = SearchChanges(seed=0, rounds=7, strategy="evolution", workers=1).applied(PARAMS)
    assert (changed.search.rounds, changed.search.strategy, changed.training.workers) == (7, "evolution", 1)
    assert (changed.seed, changed.search.per_round) == (0, PARAMS.search.per_round)
    assert changed.data == PARAMS.data
    assert FinalChanges(seeds=(5, 6), top=1).applied(PARAMS).final.seeds == (5, 6)


@pytest.mark.parametrize("wrong", [{"rounds": -1}, {"strategy": "magic"}, {"roundz": 3}, {"workers": 0}, {"seed": "x"}])
def test_what_is_wrong_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        SearchChanges(**wrong)  # type: ignore[arg-type]


def test_what_does_not_go_together_is_refused_as_in_the_file() -> None:
    with pytest.raises(ConfigError, match="pool: expected at least per_round"):
        SearchChanges(per_round=PARAMS.search.pool + 1).applied(PARAMS)


def test_prefect_shows_a_form() -> None:
    from prefect.utilities.callables import parameter_schema

    from flows.final import final
    from flows.search import search

    properties = parameter_schema(search).definitions["SearchChanges"]["properties"]
    assert properties["strategy"]["anyOf"][0]["enum"][0] == "planner"
    assert properties["rounds"]["description"].startswith("Rounds of evolution")
    assert "FinalChanges" in parameter_schema(final).definitions
