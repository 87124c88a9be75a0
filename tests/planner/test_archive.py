from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from llmastool.planner.archive import cell, dominant_family, elites
from llmastool.planner.config import ObjectiveConfig, PlannerConfig
from llmastool.planner.objective import front
from llmastool.planner.plan import Record
from llmastool.planner.planner import Planner
from llmastool.planner.report import IMPROVEMENT, NO_POSTERIOR, calibration
from tests.planner.synthetic import BLOCKS, Network, draw, measure, record


def test_elites_are_the_best_two_then_the_best_of_other_cells_in_the_better_half() -> None:
    def network(family: str, width: int) -> Network:
        return Network((family,) * BLOCKS, (width,) * BLOCKS)

    convs = [record(network("convolution", 2), a) for a in (90.0,)]
    twins = [
        record(Network(("convolution",) * BLOCKS, (2,) * (BLOCKS - 1) + (w,)), a) for w, a in ((1, 89.0), (3, 88.0))
    ]
    others = [record(network("attention", 2), 60.0), record(network("convolution", 4), 70.0)]
    fallen = [record(network("mixer", 1), None), Record(tree="x", profile=None, accuracy=None, plan=None)]
    poor = [record(network("mixer", 3), 14.0), record(network("attention", 4), 13.0)]
    poor += [
        record(network("mixer", 2), 12.0),
        record(network("attention", 1), 11.0),
        record(network("mixer", 4), 10.0),
    ]
    records = [*others, *poor, *fallen, *twins, *convs]
    assert len({cell(r.profile) for r in poor if r.profile is not None}) > 1
    assert cell(twins[0].profile) == cell(twins[1].profile) == cell(convs[0].profile)  # type: ignore[arg-type]
    ranked = [convs[0].tree, twins[0].tree, others[1].tree, others[0].tree, twins[1].tree, *(r.tree for r in poor)]
    assert elites(records, 10) == ranked
    assert elites(records, 1) == ranked[:1]
    assert Planner(PlannerConfig(elites=3), 0).elites(records) == ranked[:3]
    assert elites([], 3) == []


def test_the_dominant_family_is_where_the_work_is() -> None:
    network = Network(("pooling",) * 4 + ("attention", "convolution"), (1,) * BLOCKS)
    assert dominant_family(network.profile()) == "convolution"


def test_calibration_judges_what_the_posterior_said() -> None:
    parent, child, other = draw(3, seed=0)
    plan = {"parent": parent.id, "reason": IMPROVEMENT, "expected_gain": 2.0, "spread": 1.0}
    records = [record(parent, 60.0), record(child, 63.0, plan), record(other, 70.0, plan)]
    assert calibration(records) == {"plans": 2.0, "inside": 0.5, "error": 4.5}
    assert calibration([record(parent, 60.0), record(child, 63.0, {**plan, "reason": NO_POSTERIOR})]) is None


def test_more_of_the_best_are_elites_where_that_is_asked_for() -> None:
    networks = draw(20, seed=0)
    records = [record(n, a) for n, a in zip(networks, measure(networks, 0), strict=True)]
    best = [r.tree for r in sorted(records, key=lambda r: -(r.accuracy or 0.0))]
    assert elites(records, 6, top=6) == best[:6]
    assert elites(records, 6) != best[:6]
    assert Planner(PlannerConfig(elites=6, top=6), 0).elites(records) == best[:6]


def test_what_is_no_accuracy_makes_no_elite() -> None:
    good, *broken = draw(4, seed=0)
    told = [record(n, a) for n, a in zip(broken, (math.nan, 1e9, -math.inf), strict=True)]
    assert elites([*told, record(good, -3.0)], 9) == [good.id]


def test_elites_by_price_are_the_best_net_of_it() -> None:
    networks = draw(20, seed=0)
    records = [record(n, 60.0) for n in networks]
    sizes = {n.id: n.profile().parameters for n in networks}
    objective = ObjectiveConfig(kind="price", price=10.0)
    found = Planner(PlannerConfig(elites=2, objective=objective), 0).elites(records)
    assert found == sorted(sizes, key=lambda tree: sizes[tree])[:2]


def test_elites_for_a_front_are_spread_over_it_then_the_best() -> None:
    networks = draw(30, seed=0)
    small = [n for n in networks if n.profile().parameters]
    records = [record(n, 40 + 5 * math.log10(n.profile().parameters)) for n in small]
    edge = [r.tree for r in front(records, ObjectiveConfig(kind="front"))]
    assert len(edge) > 10
    config = PlannerConfig(elites=4, objective=ObjectiveConfig(kind="front"))
    found = Planner(config, 0).elites(records)
    assert found == [edge[i] for i in np.linspace(0, len(edge) - 1, 4).round().astype(int)]
    many = Planner(replace(config, elites=len(small)), 0).elites(records)
    assert len(many) == len(set(many)) == len(small)
    alone = [replace(r, accuracy=90.0 if r.tree == edge[0] else r.accuracy) for r in records]
    assert Planner(config, 0).elites(alone)[0] == edge[0]
    assert len(Planner(config, 0).elites(alone)) == 4
