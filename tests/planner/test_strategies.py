"""What every strategy owes the search: one suite over all of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence

import pytest

from llmastool.planner.baselines.evolution import Evolution, EvolutionConfig
from llmastool.planner.baselines.largest_first import LargestFirst, LargestFirstConfig
from llmastool.planner.baselines.local_search import LocalSearch, LocalSearchConfig
from llmastool.planner.baselines.random_search import RandomSearch
from llmastool.planner.config import PlannerConfig, PosteriorConfig
from llmastool.planner.plan import Option, Plan, Record, Wishes
from llmastool.planner.planner import Planner
from llmastool.planner.strategy import Strategy
from tests.planner.synthetic import Network, doubles, draw, fresh, measure, options, record

CONFIG = PlannerConfig(posterior=PosteriorConfig(method="fit"))  # sampling is not what is tried here
BASELINES: dict[str, Callable[[int], Strategy]] = {
    "random": RandomSearch,
    "evolution": lambda seed: Evolution(EvolutionConfig(population=6, sample=3), seed),
    "local": lambda seed: LocalSearch(LocalSearchConfig(start=4), seed),
    "largest": lambda _: LargestFirst(LargestFirstConfig()),
}
MAKERS: dict[str, Callable[[int], Strategy]] = {
    "planner": lambda seed: Planner(CONFIG, seed, edits=30, doubles=10, fresh=5),
    **BASELINES,
}
CASES = {
    "nothing": 0,
    "a young search": 3,
    "an old search": 9,
}


def _records(count: int) -> list[Record]:
    networks = draw(20, seed=1)[:count]
    return [record(n, a) for n, a in zip(networks, measure(networks, seed=1), strict=True)]


def offered(wishes: Wishes, records: Sequence[Record], drawn: int = 0) -> list[Option]:
    """Return what a space would offer for these wishes: all edits, some pairs, networks drawn anew."""
    known = {n.id: n for n in draw(20, seed=1)}
    seen = {r.tree for r in records}
    parents = [known[tree] for tree in wishes.parents]
    singles = options(parents, seen)[0][: wishes.edits]
    pairs = [o for parent in parents for o in doubles(parent)[::40] if o.tree not in seen][: wishes.doubles]
    return [*singles, *pairs, *fresh(draw(40 + drawn, seed=2)[: wishes.fresh])]


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Callable[[int], Strategy]:
    return MAKERS[request.param]


@pytest.fixture(params=CASES)
def records(request: pytest.FixtureRequest) -> list[Record]:
    return _records(CASES[request.param])


def test_plans_are_of_what_was_wished_for_distinct_and_not_too_many(
    make: Callable[[int], Strategy], records: list[Record]
) -> None:
    strategy = make(0)
    wishes = strategy.wishes(records, 4, round=1)
    assert set(wishes.parents) <= {r.tree for r in records} and len(set(wishes.parents)) == len(wishes.parents)
    choice = offered(wishes, records)
    assert choice, "it always wishes for something"
    plans, report = strategy.plan(records, choice, 4, round=1)
    assert 1 <= len(plans) <= 4
    assert len({plan.key for plan in plans}) == len({plan.tree for plan in plans}) == len(plans)
    by_key = {option.key: option for option in choice}
    for plan in plans:
        option = by_key[plan.key]
        assert (plan.parent, plan.tree, plan.after) == (option.parent, option.tree, option.after)
    assert report.round == 1 and sum(report.rules.values()) == len(plans) and report.options == len(by_key)
    assert set(report.rules) == {plan.reason for plan in plans}
    assert report.observations == len(records)
    json.dumps([report.to_json(), *(plan.to_json() for plan in plans)], allow_nan=False)
    assert all(Plan(**plan.to_json()) == plan for plan in plans)


def test_same_seed_same_plans_whatever_the_order_of_the_options(
    make: Callable[[int], Strategy], records: list[Record]
) -> None:
    wishes = make(3).wishes(records, 3, round=2)
    assert wishes == make(3).wishes(records, 3, round=2)
    choice = offered(wishes, records)
    plans, _ = make(3).plan(records, choice, 3, round=2)
    assert plans == make(3).plan(records, choice[::-1], 3, round=2)[0]
    assert plans == make(3).plan(records, [*choice, *choice], 3, round=2)[0]


def test_no_state_is_kept_between_rounds(make: Callable[[int], Strategy]) -> None:
    strategy, records = make(1), _records(9)
    choice = offered(strategy.wishes(records, 3, round=5), records)
    once = strategy.plan(records, choice, 3, round=5)[0]
    strategy.plan(records[:4], offered(strategy.wishes(records[:4], 3, round=1), records[:4]), 3, round=1)
    assert strategy.plan(records, choice, 3, round=5)[0] == once == make(1).plan(records, choice, 3, round=5)[0]


def test_where_there_is_nothing_to_choose_there_are_no_plans(
    make: Callable[[int], Strategy], records: list[Record]
) -> None:
    strategy = make(0)
    assert strategy.plan(records, [], 3, round=1)[0] == []
    choice = offered(strategy.wishes(records, 0, round=1), records)
    assert strategy.plan(records, choice, 0, round=1)[0] == []


@pytest.mark.parametrize("accuracy", [None, math.nan, 1e9, 61.5])
def test_records_that_say_little_stop_nothing(make: Callable[[int], Strategy], accuracy: float | None) -> None:
    """All failed, all no numbers, all equal."""
    records = [record(network, accuracy) for network in draw(20, seed=1)[:9]]
    records[-1] = Record(tree=records[-1].tree, profile=None, accuracy=None, plan=None)
    strategy = make(0)
    wishes = strategy.wishes(records, 3, round=1)
    plans, report = strategy.plan(records, offered(wishes, records), 3, round=1)
    assert plans and report.observations == (8 if accuracy == 61.5 else 0)
    assert wishes.parents or wishes.fresh
    json.dumps([plan.to_json() for plan in plans], allow_nan=False)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_find_good_networks_where_these_are_far_from_rare(name: str) -> None:
    """A whole search in rounds, on the landscape; what is asked and told fits together."""
    strategy = MAKERS[name](0)
    networks = {n.id: n for n in draw(3, seed=1)}
    told = [record(n, n.accuracy()) for n in networks.values()]
    for number in range(1, 9):
        wishes = strategy.wishes(told, 4, round=number)
        seen = {r.tree for r in told}
        singles, children = options([networks[tree] for tree in wishes.parents], seen)
        anew = {n.id: n for n in draw(3 + 8 * number, seed=7) if n.id not in seen}
        choice = [*singles, *fresh(list(anew.values())[: wishes.fresh])]
        plans, report = strategy.plan(told, choice, 4, round=number)
        assert report.posterior is None and report.calibration is None
        assert {plan.reason.partition(",")[0] for plan in plans} == {_reason(name)}
        for plan in plans:
            child: Network = children[plan.key] if plan.parent else anew[plan.tree]
            networks[child.id] = child
            told.append(record(child, child.accuracy(), plan.to_json()))
    assert len({r.tree for r in told}) == len(told)
    assert max(r.accuracy or 0.0 for r in told) > max(r.accuracy or 0.0 for r in told[:3])


def _reason(name: str) -> str:
    return {"random": "random search", "local": "local search", "largest": "largest first"}.get(name, name)
