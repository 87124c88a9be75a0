"""What comes before there is much to go on, and what a planner must not stumble over."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from llmastool.planner.config import ObjectiveConfig, PlannerConfig, PosteriorConfig
from llmastool.planner.plan import FRESH, Option, Plan, Record, Wishes
from llmastool.planner.planner import Planner
from llmastool.planner.report import IMPROVEMENT, NO_POSTERIOR, QUOTA
from llmastool.planner.space import FeatureSpace, distances
from tests.planner.synthetic import Network, doubles, draw, fresh, measure, options, record, values

CONFIG = PlannerConfig(posterior=PosteriorConfig(method="fit"))

OBJECTIVES = [
    ObjectiveConfig(),
    ObjectiveConfig(kind="price", price=5.0),
    ObjectiveConfig(kind="price", price=5.0, cost="latency"),
    ObjectiveConfig(kind="front"),
    ObjectiveConfig(kind="front", cost="latency"),
]


def _start(count: int) -> list[Record]:
    networks = draw(count, seed=3)
    return [record(n, a) for n, a in zip(networks, measure(networks, 3), strict=True)]


def _mixed(records: Sequence[Record]) -> list[Option]:
    parents = draw(3, seed=3)
    return [*options(parents, {r.tree for r in records})[0], *doubles(parents[0])[::40], *fresh(draw(20, seed=8))]


def test_it_wishes_for_networks_until_there_is_a_start() -> None:
    planner = Planner(replace(CONFIG, start=4, elites=3), 0, edits=50, doubles=7, fresh=9)
    assert planner.wishes([], 4, round=0) == Wishes(fresh=9)
    fallen = [record(n, None) for n in draw(9, seed=0)]
    assert planner.wishes([*_start(3), *fallen], 4, round=0) == Wishes(fresh=9)
    assert Planner(replace(CONFIG, start=1), 0).wishes([], 4, round=0) == Wishes(fresh=4)
    records = _start(5)
    wishes = planner.wishes(records, 4, round=1)
    assert wishes == Wishes(parents=tuple(planner.elites(records)), edits=50, doubles=7, fresh=9)
    assert len(wishes.parents) == 3
    # Nothing to edit: the start population fell at the gates, all of it.
    assert Planner(CONFIG, 0).wishes(fallen, 4, round=0) == Wishes(fresh=4)


@pytest.mark.parametrize("batch", [4, 1])
def test_the_start_is_the_largest_network_and_those_that_are_farthest(batch: int) -> None:
    planner = Planner(replace(CONFIG, start=4), 0, fresh=40)
    drawn = draw(40, seed=1)
    networks = {n.id: n for n in drawn}
    records: list[Record] = []
    for number in range(4 // batch):
        plans, report = planner.plan(records, fresh(list(networks.values())), batch, round=number)
        assert all(plan.kind == FRESH and plan.reason == NO_POSTERIOR and not plan.parent for plan in plans)
        assert report.posterior is None
        records += [record(networks.pop(plan.tree), 50.0, plan.to_json()) for plan in plans]
    assert records[0].tree == max(drawn, key=lambda n: n.profile().parameters).id

    def nearest(ids: Sequence[str]) -> float:
        found = FeatureSpace.fit(values(drawn)).transform(values([n for n in drawn if n.id in ids]))
        apart = distances(found, found)
        return float(apart[~np.eye(len(ids), dtype=bool)].min())

    rng = np.random.default_rng(0)
    ids = [n.id for n in drawn]
    by_chance = [nearest([str(i) for i in rng.choice(ids, 4, replace=False)]) for _ in range(50)]
    assert nearest([r.tree for r in records]) > np.quantile(by_chance, 0.9)


def test_a_start_that_falls_is_tried_again() -> None:
    planner = Planner(replace(CONFIG, start=4), 0, fresh=40)
    choice = fresh(draw(40, seed=1))
    first, _ = planner.plan([], choice, 4, round=0)
    fallen = [Record(tree=plan.tree, profile=None, accuracy=None, plan=plan.to_json()) for plan in first]
    assert planner.wishes(fallen, 4, round=1).fresh == 40
    left = [option for option in choice if option.tree not in {plan.tree for plan in first}]
    again, _ = planner.plan(fallen, left, 4, round=1)
    assert len({plan.tree for plan in again}) == 4


def test_networks_drawn_anew_compete_with_edits() -> None:
    """One of them is much better than what edits lead to."""
    start = [n for n in draw(60, seed=3) if "depthwise" not in n.families[:3]][:25]
    records = [record(n, a) for n, a in zip(start, measure(start, 3), strict=True)]
    good = Network(("depthwise",) * 5 + ("attention",), (2,) * 6)
    poor = min(start, key=lambda n: n.accuracy())
    plans, _ = Planner(replace(CONFIG, quota=0.0), 0).plan(
        records, [*options([poor], set())[0], *fresh([good])], 1, round=0
    )
    assert [(plan.kind, plan.tree) for plan in plans] == [(FRESH, good.id)]
    best = max(r.accuracy or 0.0 for r in records)
    beliefs = Planner(CONFIG, 0).beliefs(records)
    assert beliefs is not None
    assert abs(plans[0].expected_gain - (good.accuracy() - best)) < 4 * plans[0].spread


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: f"{o.kind}-{o.cost}")
@pytest.mark.parametrize(
    "accuracies",
    [
        [None] * 12,
        [55.0] * 12,
        [math.nan, 1e9] * 6,
        [60.0, 61.0, *[None] * 10],
        [0.0, 100.0] * 6,
        [math.nan, 1e9, None, *np.linspace(50, 60, 9).tolist()],
    ],
    ids=["all failed", "all equal", "no numbers", "two", "extremes", "some of each"],
)
def test_it_goes_on(accuracies: list[float | None], objective: ObjectiveConfig) -> None:
    records = [record(n, a) for n, a in zip(draw(12, seed=3), accuracies, strict=True)]
    planner = Planner(replace(CONFIG, min_observations=2, objective=objective, per_second=True), 0)
    plans, report = planner.plan(records, _mixed(records), 5, round=1)
    assert len({plan.tree for plan in plans}) == 5
    usable = sum(a is not None and -100 <= a <= 100 for a in accuracies)
    assert report.observations == usable
    assert {plan.reason for plan in plans} <= ({NO_POSTERIOR} if usable < 2 else {IMPROVEMENT, QUOTA})
    json.dumps([report.to_json(), *(plan.to_json() for plan in plans)], allow_nan=False)
    wishes = planner.wishes(records, 5, round=1)
    assert len(wishes.parents) == min(usable, planner.config.elites)


def test_an_accuracy_that_is_no_number_is_reported() -> None:
    records = [*_start(8), record(draw(1, seed=99)[0], math.nan)]
    _, report = Planner(CONFIG, 0).plan(records, _mixed(records), 3, round=1)
    assert report.posterior is not None
    assert report.posterior["refused"] == "1 of 9 accuracies, not from -100 to 100: nan"


def _renamed(r: Record, change: Callable[[str], str]) -> Record:
    """The same network, as a registry with other families and modules would describe it."""
    assert r.profile is not None
    slots = tuple(replace(s, family=change(s.family), module=change(s.module)) for s in r.profile.slots)
    return replace(r, tree=change(r.tree), profile=replace(r.profile, slots=slots))


def test_it_goes_on_with_another_registry() -> None:
    """Of what was evaluated the options hold nothing, and of what they hold nothing was evaluated."""
    plan = Plan(parent="gone", slot="gone.0", kind="gone", family="gone", tree="gone.1", reason=IMPROVEMENT)
    old = [replace(_renamed(r, lambda name: f"old-{name}"), plan=plan.to_json()) for r in _start(12)]
    choice = _mixed([])
    plans, report = Planner(CONFIG, 0).plan(old, choice, 6, round=5)
    assert len(plans) == 6 and report.observations == 12
    assert {"old-mixer", "mixer"} <= set(report.families)
    assert QUOTA in report.rules, "families that no network held"
    assert all(plan.spread > 0 and plan.novelty > 0.5 for plan in plans)
    json.dumps([report.to_json(), *(plan.to_json() for plan in plans)], allow_nan=False)
    half = [*old[:6], *_start(6)]
    assert len(Planner(CONFIG, 0).plan(half, choice, 6, round=5)[0]) == 6


def test_a_planner_forgets_nothing_and_keeps_nothing() -> None:
    """One that was resumed plans as one that ran on, whatever options that one has seen."""
    records = _start(20)
    kept = Planner(CONFIG, seed=5)
    for number in range(3):
        kept.plan(records[: 8 + number], [*options(draw(20, seed=50 + number), set())[0]], 4, round=number)
    for config in (CONFIG, replace(CONFIG, acquisition="thompson")):
        kept.config = config
        resumed = Planner(config, seed=5)
        (first, told), (second, said) = (p.plan(records, _mixed(records), 5, round=3) for p in (kept, resumed))
        assert first == second
        assert told.posterior is not None and said.posterior is not None
        assert told.posterior["scales"] == said.posterior["scales"], "to the last bit: NUTS would make much of it"
