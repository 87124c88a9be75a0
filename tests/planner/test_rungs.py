"""Trainings that were stopped: carried over to the end, and taken into the posterior."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmastool.planner.beliefs import believe
from llmastool.planner.config import PlannerConfig, PosteriorConfig
from llmastool.planner.plan import Record
from llmastool.planner.planner import Planner
from llmastool.planner.report import IMPROVEMENT
from llmastool.planner.rungs import carried, told
from llmastool.planner.success import Success
from llmastool.planner.table import Table
from tests.planner.synthetic import draw, measure, options, record

CONFIG = PlannerConfig(posterior=PosteriorConfig(method="fit"))


def early(accuracy: float) -> float:
    """An accuracy after a quarter of the epochs."""
    return 0.8 * accuracy - 10.0


def seen(count: int, seed: int, whole: int) -> list[Record]:
    """Networks of which the first so many were trained to the end."""
    networks = draw(count, seed)
    found = []
    for i, (network, accuracy) in enumerate(zip(networks, measure(networks, seed), strict=True)):
        partial = {0.25: early(accuracy)}
        found.append(replace(record(network, accuracy if i < whole else None), partial=partial))
    return found


def test_whole_trainings_speak_for_themselves() -> None:
    records = seen(12, seed=0, whole=12)
    found = told(records)
    assert found.trees == [r.tree for r in records] and found.accuracies == [r.accuracy for r in records]
    assert set(found.rungs) == {0.0}


def test_what_was_stopped_is_carried_over_to_the_end() -> None:
    records = seen(30, seed=0, whole=10)
    found = told(records)
    assert found.rungs == [0.0] * 10 + [-2.0] * 30
    truth = [accuracy for accuracy in measure(draw(30, 0), 0)]
    assert np.corrcoef(found.accuracies[10:], truth)[0, 1] > 0.999
    # The slope is 1.25 by the pairs, and a little less as it is drawn to 1.
    off = np.array(found.accuracies[10:]) - truth
    assert np.abs(off[:10]).max() < 0.5 * np.abs(np.array(truth[:10]) - [early(t) for t in truth[:10]]).max()


def test_of_one_pair_the_level_is_taken_and_of_none_nothing() -> None:
    records = seen(30, seed=0, whole=1)
    first = records[0].accuracy
    assert first is not None
    truth = np.array(measure(draw(30, 0), 0))
    assert np.allclose(told(records).accuracies, [first, *(first + 0.8 * (truth - truth[0]))])
    assert told(seen(30, seed=0, whole=0)).trees == []


def test_what_was_stopped_is_ranked_by_what_it_would_have_come_to() -> None:
    """The posterior is used, and parents are chosen, before many trainings came to the end."""
    records = seen(30, seed=0, whole=3)
    ends = carried(records)
    assert [r.accuracy for r in ends[:3]] == [r.accuracy for r in records[:3]]
    best = max(records, key=lambda record: record.partial[0.25])
    assert best.accuracy is None and Planner(CONFIG, seed=0).elites(records)[0] == best.tree
    table = Table()
    table.add((r.tree, r.profile) for r in records if r.profile is not None)
    beliefs = believe(records, table.view, seed=0, config=CONFIG)
    assert beliefs is not None and beliefs.posterior.diagnostics.observations == 33
    assert believe(records[:5], table.view, seed=0, config=CONFIG) is None
    effects = [effect for found in beliefs.paid().values() for effect in found]
    assert effects and all(2 <= effect.number <= 28 for effect in effects), "networks count once, however often seen"
    plans, _ = Planner(CONFIG, seed=0).plan(records, options(draw(2, 9), set())[0], 4, round=1)
    assert {plan.reason for plan in plans} == {IMPROVEMENT} and all(plan.spread > 0 for plan in plans)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_was_stopped_makes_predictions_better(seed: int) -> None:
    """10 whole trainings and 40 of a quarter tell more of others than the 10 by themselves."""
    records, held_out = seen(50, seed=seed, whole=10), draw(60, seed=100 + seed)
    truth = np.array(measure(held_out, 100 + seed))
    table, errors = Table(), []
    others = table.add((n.id, record(n, None).profile) for n in held_out)  # type: ignore[misc]
    table.add((r.tree, r.profile) for r in records if r.profile is not None)
    view = table.view
    for known in (records, records[:10]):
        beliefs = believe(known, view, seed=0, config=CONFIG)
        assert beliefs is not None
        mean, spread = beliefs.posterior.accuracy(view.values(others))
        errors.append(float(np.mean(np.abs(mean - truth))))
        assert (spread > 0).all()
    assert "rung_linear" in believe(records, view, seed=0, config=CONFIG).posterior.diagnostics.scales  # type: ignore[union-attr]
    assert errors[0] < 0.85 * errors[1], errors


def test_the_best_so_far_was_trained_to_the_end() -> None:
    """However well another began."""
    records = seen(30, seed=0, whole=20)
    records[25] = replace(records[25], partial={0.25: 99.0})
    table = Table()
    table.add((r.tree, r.profile) for r in records if r.profile is not None)
    beliefs = believe(records, table.view, seed=0, config=CONFIG)
    assert beliefs is not None
    assert beliefs.posterior.seen.mean.shape == (20,)
    assert set(beliefs.estimates()) == {r.tree for r in records[:20]}


def test_to_be_stopped_is_no_failure() -> None:
    networks = draw(12, seed=3)
    choice = options(networks[:3], set())[0]
    plan = {"parent": "p", "slot": choice[0].slot, "kind": choice[0].kind, "family": choice[0].family, "tree": "t"}
    base = replace(record(networks[0], None), plan={**plan, "reason": "drawn"})
    stopped, failed = replace(base, partial={0.25: 50.0}), base
    assert Success([stopped] * 4).probability(choice[0]) > 0.7 > 0.3 > Success([failed] * 4).probability(choice[0])
