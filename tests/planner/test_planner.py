from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from llmastool import seeds
from llmastool.config import from_mapping
from llmastool.errors import ConfigError
from llmastool.planner import posterior
from llmastool.planner.archive import elites
from llmastool.planner.config import ObjectiveConfig, PlannerConfig, PosteriorConfig
from llmastool.planner.plan import Option, Plan, Record
from llmastool.planner.planner import Planner
from llmastool.planner.report import IMPROVEMENT, NO_POSTERIOR, QUOTA
from llmastool.planner.table import Table
from tests.planner.synthetic import FAMILIES, Network, draw, fresh, measure, options, record

CONFIG = PlannerConfig(posterior=PosteriorConfig(method="fit"))


def _start(count: int, seed: int) -> list[Record]:
    networks = draw(count, seed)
    return [record(n, a) for n, a in zip(networks, measure(networks, seed), strict=True)]


def _without(*families: str) -> tuple[list[Record], list[Option]]:
    """Twelve networks that do not hold some families, and the edits of three of them."""
    left = [family for family in FAMILIES if family not in families]
    rng = np.random.default_rng(0)
    networks = [replace(n, families=tuple(map(str, rng.choice(left, len(n.families))))) for n in draw(12, seed=3)]
    records = [record(n, a) for n, a in zip(networks, measure(networks, 3), strict=True)]
    return records, options(networks[:3], {n.id for n in networks})[0]


def _options(records: Sequence[Record], seed: int, count: int, parents: int = 3) -> list[Option]:
    networks = draw(count, seed)
    return options(networks[:parents], {r.tree for r in records})[0]


def test_the_model_is_compiled_while_those_train_after_whom_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[bool] = []
    monkeypatch.setattr(posterior, "prepare", lambda _, *, rungs: compiled.append(rungs))
    planner = Planner(replace(CONFIG, min_observations=6), seed=0)
    planner.prepare(5, rungs=False)
    assert compiled == []
    planner.prepare(6, rungs=True)
    assert compiled == [True]


def test_a_batch_keeps_its_rules_and_says_why() -> None:
    missing = {"recurrent", "mixer", "pooling", "attention"}
    records, choice = _without(*missing)
    plans, report = Planner(CONFIG, seed=0).plan(records, choice, 8, round=1)
    assert len({plan.key for plan in plans}) == 8
    assert max(Counter(plan.parent for plan in plans).values()) <= 4
    assert max(Counter((plan.parent, plan.slot, plan.kind) for plan in plans).values()) == 1
    assert Counter(plan.reason for plan in plans) == {IMPROVEMENT: 6, QUOTA: 2} == report.rules
    assert all(plan.novelty > 0 and plan.spread > 0 for plan in plans)
    assert {plan.family for plan in plans if plan.reason == QUOTA} <= missing <= {plan.family for plan in plans}
    assert len({plan.tree for plan in plans}) == 8
    assert (report.options, report.observations) == (len(choice), 12)
    json.dumps(report.to_json(), allow_nan=False)
    json.dumps([plan.to_json() for plan in plans], allow_nan=False)


def test_gains_are_over_the_parent() -> None:
    records = _start(20, seed=3)
    choice = _options(records, 3, 20, parents=20)
    plans, _ = Planner(CONFIG, seed=0).plan(records, choice, 12, round=1)
    came = {plan.key: options(draw(20, 3), set())[1][plan.key].accuracy() for plan in plans}
    parents = {r.tree: r.accuracy or 0.0 for r in records}
    error = [came[plan.key] - parents[plan.parent] - plan.expected_gain for plan in plans]
    assert statistics.fmean(abs(e) for e in error) < 4
    assert sum(abs(e) <= 2.5 * plan.spread for e, plan in zip(error, plans, strict=True)) >= 10


def test_same_seed_same_plans_whatever_the_order_of_the_options() -> None:
    records = _start(8, seed=3)
    choice = _options(records, 3, 8)
    first, _ = Planner(CONFIG, seed=5).plan(records, choice, 5, round=2)
    second, _ = Planner(CONFIG, seed=5).plan(records, choice[::-1], 5, round=2)
    assert first == second


def test_before_the_posterior_families_take_turns() -> None:
    networks = [Network(("convolution",) * 6, (width,) * 6) for width in (1, 2, 3, 4)]
    records = [record(n, 60.0) for n in networks]
    choice, others = options(networks, set())[0], set(FAMILIES) - {"convolution"}
    planner = Planner(CONFIG, seed=0)
    plans, report = planner.plan(records, choice, 5, round=1)
    assert {plan.reason for plan in plans} == {NO_POSTERIOR}
    assert {plan.family for plan in plans} == others
    assert all(plan.expected_gain == plan.spread == 0 and plan.novelty > 0 for plan in plans)
    assert report.posterior is None
    few, _ = planner.plan(records, choice, 3, round=1)
    later, _ = planner.plan([*records, *map(_fallen, few)], choice, 2, round=2)
    assert {plan.family for plan in (*few, *later)} == others


def test_fewer_options_than_plans() -> None:
    records = _start(3, seed=3)
    choice = _options(records, 3, 3, parents=1)[:4]
    planner = Planner(CONFIG, seed=0)
    plans, _ = planner.plan(records, [*choice, *choice], 9, round=0)
    assert {plan.key for plan in plans} == {option.key for option in choice}
    for empty, n in (([], 4), (choice, 0)):
        plans, report = planner.plan(_start(12, seed=3), empty, n, round=0)
        assert plans == []
        assert report.posterior is None
    assert len(planner.plan([], choice, 2, round=0)[0]) == 2


@pytest.mark.parametrize("quota", [0.5, 0.0])
def test_the_quota_gives_every_family_a_trial_within_bounded_rounds(quota: float) -> None:
    """Recurrent blocks and pooling are by far the worst; what falls counts as a trial, and nothing is owed then."""
    missing = ("recurrent", "pooling", "attention")
    records, choice = _without(*missing)
    owed = []
    for number in range(4):
        plans, report = Planner(replace(CONFIG, quota=quota), seed=0).plan(records, choice, 4, round=number)
        owed += [plan.family for plan in plans if plan.reason == QUOTA]
        records = [*records, *(_fallen(plan) for plan in plans)]
        if number == 2:
            by_then = len(owed)
            assert not quota or min(report.families[family] for family in missing) >= 2
    assert len(owed) == by_then
    assert set(owed) <= set(missing)
    assert bool(owed) == bool(quota)


def _fallen(plan: Plan) -> Record:
    return Record(tree=f"fallen:{plan.key}", profile=None, accuracy=None, plan=plan.to_json())


def test_the_share_of_the_quota_holds_over_rounds_of_one() -> None:
    from llmastool.planner.round import _turns

    assert [_turns(0.25, number, 1) for number in range(8)] == [0, 0, 0, 1, 0, 0, 0, 1]
    assert sum(_turns(0.3, 7 * number, 7) for number in range(10)) == 21


def _search(seed: int, planner: Planner | None, rounds: int = 5, batch: int = 4) -> float:
    """Return the best noise-free accuracy that a search of 26 candidates finds; without a planner edits are drawn."""
    known = {network.id: network for network in draw(6, seed)}
    records = [record(n, a) for n, a in zip(known.values(), measure(list(known.values()), seed), strict=True)]
    for number in range(1, rounds + 1):
        choice, children = options([known[tree] for tree in elites(records, 6)], set(known))
        if planner is None:
            picks = seeds.generator(seed, "baseline", number).permutation(len(choice))[:batch]
            made: list[tuple[Network, Plan | None]] = [(children[choice[i].key], None) for i in picks]
        else:
            plans, _ = planner.plan(records, choice, batch, round=number)
            made = [(children[plan.key], plan) for plan in plans]
        for network, plan in made:
            known[network.id] = network
            records.append(record(network, measure([network], seed)[0], plan.to_json() if plan else None))
    return max(network.accuracy() for network in known.values())


def test_a_search_with_it_beats_random_edits_of_the_same_elites() -> None:
    planned = [_search(seed, Planner(CONFIG, seed)) for seed in range(3)]
    at_random = [_search(seed, None) for seed in range(20)]
    best = max(network.accuracy() for network in draw(3000, seed=9))
    assert statistics.fmean(planned) > statistics.fmean(at_random) + 3
    assert min(planned) > best - 2


def test_importing_the_planner_is_cheap() -> None:
    heavy = "{'torch', 'pymc', 'pytensor', 'nutpie', 'arviz'}"
    code = f"import sys, llmastool.planner.planner; print(*sorted({heavy} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "\n"


def _twins() -> tuple[list[Record], list[Option]]:
    """Observations, and networks of which a posterior without costs expects the same, the largest first."""
    records = _start(20, seed=3)
    families = ("depthwise", "depthwise", "convolution", "depthwise", "attention", "attention")
    return records, fresh([Network(families, (width,) * 6) for width in (4, 2, 1, 3)])


BLIND = replace(CONFIG, posterior=PosteriorConfig(method="fit", costs=False), quota=0.0)


def test_of_equals_the_price_takes_the_small_one() -> None:
    records, choice = _twins()
    small = min(choice, key=lambda option: option.profile.parameters)
    for objective in (ObjectiveConfig(kind="price", price=1.0), ObjectiveConfig(kind="price", price=1.0, cost="flops")):
        plans, _ = Planner(replace(BLIND, objective=objective), 0).plan(records, choice, 1, round=0)
        assert plans[0].tree == small.tree
    first = {Planner(BLIND, seed).plan(records, choice, 1, round=0)[0][0].tree for seed in range(12)}
    assert len(first) > 1, "without a price it is a draw"


def test_of_equals_the_front_takes_the_small_one() -> None:
    records, choice = _twins()
    objective = ObjectiveConfig(kind="front")
    plans, _ = Planner(replace(BLIND, objective=objective), 0).plan(records, choice, 1, round=0)
    assert plans[0].tree == min(choice, key=lambda option: option.profile.parameters).tree


def test_per_second_the_quick_one_comes_first() -> None:
    records, choice = _twins()
    timed = [replace(r, seconds=10 + r.profile.flops / 1e6) for r in records if r.profile is not None]
    plans, _ = Planner(replace(BLIND, per_second=True), 0).plan(timed, choice, 1, round=0)
    assert plans[0].tree == min(choice, key=lambda option: option.profile.flops).tree
    untimed = [Planner(replace(BLIND, per_second=on), 3).plan(records, choice, 2, round=0)[0] for on in (True, False)]
    assert untimed[0] == untimed[1]


def test_thompson_spreads_its_picks() -> None:
    records = _start(20, seed=3)
    choice = _options(records, 3, 20, parents=5)
    config = replace(CONFIG, acquisition="thompson")
    plans, report = Planner(config, seed=0).plan(records, choice, 8, round=1)
    again, _ = Planner(config, seed=0).plan(records, choice[::-1], 8, round=1)
    other, _ = Planner(config, seed=1).plan(records, choice, 8, round=1)
    assert plans == again != other
    assert len({plan.key for plan in plans}) == 8
    children = options(draw(20, seed=3)[:5], {r.tree for r in records})[1]
    usual = statistics.fmean(child.accuracy() for child in children.values())
    assert statistics.fmean(children[plan.key].accuracy() for plan in plans) > usual + 2
    assert report.rules == {IMPROVEMENT: 8}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"acquisition": "ucb"}, "params.acquisition: expected one of 'improvement', 'thompson', got 'ucb'"),
        ({"start": -1}, "params.start: expected 0 or more"),
        ({"trials": 0}, "params.trials: expected 1 or more"),
        (
            {"acquisition": "thompson", "objective": {"kind": "front"}},
            "params.acquisition: expected improvement for the objective front",
        ),
        ({"quota": 1.5}, "params.quota: expected 0 to 1, got 1.5"),
        ({"elites": 0}, "params.elites: expected 1 or more"),
        ({"min_observations": 1}, "params.min_observations: expected 2 or more"),
        ({"posterior": {"tune": 1}}, "params.posterior.tune: expected 50 or more"),
    ],
)
def test_configuration_is_checked(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(PlannerConfig, values)


@pytest.mark.parametrize(
    "changes",
    [{}, {"objective": ObjectiveConfig(kind="price", price=20.0)}, {"objective": ObjectiveConfig(kind="front")}],
    ids=["accuracy", "price", "front"],
)
def test_what_is_decided_by_is_what_single_options_are_worth(changes: dict) -> None:
    records = _start(20, seed=3)
    choice = _options(records, 3, 20, parents=6)
    planner = Planner(replace(CONFIG, quota=0.0, **changes), seed=0)
    plans, _, beliefs = planner.decide(records, choice, 1, round=1)
    assert beliefs is not None
    some = [option for option in choice if option.key == plans[0].key] + choice[:15]
    worths = planner.worth(records, some, beliefs)
    assert max(worths) == pytest.approx(worths[0], rel=1e-6)
    assert len(set(worths)) > 5
    other = draw(30, seed=11)[-3:]
    unseen = planner.worth(records, [replace(some[0], tree=n.id, profile=n.profile()) for n in other], beliefs)
    assert len(unseen) == 3
    assert all(np.isfinite(unseen))


def test_features_of_what_came_to_nothing_are_not_kept() -> None:
    records, table = _start(8, seed=3), Table()
    planner = Planner(CONFIG, seed=0, table=table)
    first, second = _options(records, 3, 8), fresh(draw(9, seed=7))
    came = Planner(CONFIG, seed=0).plan(records, second, 4, round=2)[0]
    planner.plan(records, first, 4, round=1)
    assert all(option.tree in table for option in first)
    assert planner.plan(records, second, 4, round=2)[0] == came
    assert [option.tree in table for option in (*first, *second)] == [False] * len(first) + [True] * 9
    assert all(record.tree in table for record in records)


@pytest.mark.parametrize("count", [20, 4], ids=["believing", "before"])
def test_what_is_pending_counts_as_the_first_picks(count: int) -> None:
    records, choice = _start(count, seed=3), fresh(draw(60, seed=5))
    planner = Planner(replace(CONFIG, quota=0.0), seed=0)
    trees = [plan.tree for plan in planner.plan(records, choice, 6, round=1)[0]]
    pending = [option for tree in trees[:3] for option in choice if option.tree == tree]
    rest = [option for option in choice if option not in pending]
    later = planner.decide(records, rest, 3, round=1, pending=pending)[0]
    assert [plan.tree for plan in later] == trees[3:]
    assert [plan.tree for plan in planner.plan(records, rest, 3, round=1)[0]] != trees[3:]
    everything = planner.decide(records, rest, 99, round=1, pending=pending)[0]
    assert {plan.tree for plan in everything} == {option.tree for option in rest}


def test_estimates_take_luck_out_of_accuracies() -> None:
    networks = draw(60, seed=3)
    truth = dict(zip((n.id for n in networks), measure(networks, 3), strict=True))
    luck = np.random.default_rng(1).normal(0.0, 3.0, len(networks))
    records = [record(n, truth[n.id] + e) for n, e in zip(networks, luck, strict=True)]
    found = _estimates(records)
    assert found.keys() == truth.keys()
    # Of the better half; the accuracies of the others are warped.
    better = [i for i, n in enumerate(networks) if truth[n.id] >= statistics.median(truth.values())]
    off = [abs(found[networks[i].id] - truth[networks[i].id]) for i in better]
    assert statistics.fmean(off) < 0.8 * statistics.fmean(abs(luck[i]) for i in better)

    # Trained nine times more with the same outcome, it was no luck.
    again = [replace(records[0], plan=None) for _ in range(9)]
    sure = _estimates([*records, *again])[records[0].tree]
    came = records[0].accuracy or 0.0
    assert abs(sure - came) < abs(found[records[0].tree] - came)

    assert networks[1].id not in _estimates([records[0], record(networks[1], None), *records[2:]])
    assert Planner(CONFIG, seed=0).beliefs(records[:3]) is None


def _estimates(records: Sequence[Record]) -> dict[str, float]:
    beliefs = Planner(CONFIG, seed=0).beliefs(records)
    assert beliefs is not None
    return beliefs.estimates()
