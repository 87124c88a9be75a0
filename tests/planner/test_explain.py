from __future__ import annotations

import statistics

import numpy as np
import pytest

from llmastool.planner.config import PlannerConfig, PosteriorConfig
from llmastool.planner.explain import edits, paid
from llmastool.planner.plan import Record
from llmastool.planner.planner import Planner
from llmastool.planner.posterior import fit
from llmastool.planner.report import Effect
from llmastool.planner.table import Table
from tests.planner.synthetic import FAMILIES, WORTH, draw, measure, record

CONFIG = PosteriorConfig(method="fit")


@pytest.fixture(scope="module")
def worth() -> dict[str, list[Effect]]:
    networks = draw(150, seed=2)
    table = Table()
    view = table.only(table.add((n.id, n.profile()) for n in networks))
    posterior = fit(view.values([n.id for n in networks]), measure(networks, seed=2), seed=0, config=CONFIG)
    return paid(posterior, view)


def test_families_are_ranked_as_they_were_planted(worth: dict[str, list[Effect]]) -> None:
    found = {effect.name: effect for effect in worth["family"] if effect.name in FAMILIES}
    assert set(found) == set(FAMILIES)
    best, worst = max(WORTH, key=WORTH.__getitem__), min(WORTH, key=WORTH.__getitem__)
    assert found[best].low > 0 > found[worst].high
    means = [found[family].mean for family in FAMILIES]
    assert np.corrcoef(means, [WORTH[family] for family in FAMILIES])[0, 1] > 0.8


def test_effects_come_best_first_with_intervals_around_their_means(worth: dict[str, list[Effect]]) -> None:
    assert set(worth) == {"family", "module", "motif"}
    for effects in worth.values():
        assert [e.mean for e in effects] == sorted((e.mean for e in effects), reverse=True)
        assert all(e.low < e.mean < e.high and e.number >= 2 for e in effects)
        assert all(Effect(**e.to_json()) == e for e in effects)


def test_what_a_network_gains_by_a_feature_is_what_the_posterior_predicts() -> None:
    networks = draw(60, seed=4)
    table = Table()
    view = table.only(table.add((n.id, n.profile()) for n in networks))
    posterior = fit(view.values([n.id for n in networks]), measure(networks, seed=4), seed=0, config=CONFIG)
    effect = next(e for e in paid(posterior, view)["family"] if e.name == "depthwise")
    column = view.names("family").index("depthwise")
    with_it = {g: v[posterior.values["family"][:, column] > 0] for g, v in posterior.values.items()}
    without = {**with_it, "family": with_it["family"].copy()}
    without["family"][:, column] = 0.0
    without["module"] = with_it["module"].copy()
    without["module"][:, view.names("module").index("m.depthwise")] = 0.0
    gain = posterior.pool(with_it).mean - posterior.pool(without).mean
    chosen = np.linspace(0, len(gain) - 1, min(40, len(gain))).round().astype(int)
    unit = posterior.warp.scale * posterior.warp.sd
    assert effect.mean == pytest.approx(unit * gain[chosen].mean(), rel=1e-6)


def _child(number: int, kind: str, gain: float) -> Record:
    plan = {"parent": "p", "kind": kind, "family": "any"}
    return Record(tree=f"c{number}", profile=None, accuracy=50 + gain, plan=plan)


def test_edits_are_pooled_towards_the_mean_of_all() -> None:
    rng = np.random.default_rng(0)
    good = [_child(i, "insert", g) for i, g in enumerate(rng.normal(2, 1, 30))]
    bad = [_child(100 + i, "delete", g) for i, g in enumerate(rng.normal(-2, 1, 30))]
    rare = [_child(200, "widen", 9.0)]
    parent = Record(tree="p", profile=None, accuracy=50.0, plan=None)
    fallen = Record(tree="f", profile=None, accuracy=None, plan=good[0].plan)
    found = {e.name: e for e in edits([parent, *good, *bad, *rare, fallen])["kind"]}
    assert found["insert"].low > 0 > found["delete"].high
    assert found["insert"].number == 30
    assert found["insert"].mean == pytest.approx(2, abs=0.5)
    assert statistics.fmean((2.0, -2.0)) < found["widen"].mean < 9.0
    assert found["widen"].high - found["widen"].low > found["insert"].high - found["insert"].low
    assert edits([parent]) == {"kind": [], "family": []}


def test_a_planner_explains_nothing_before_it_believes_anything() -> None:
    networks = draw(12, seed=1)
    records = [record(n, a) for n, a in zip(networks, measure(networks, seed=1), strict=True)]
    planner = Planner(PlannerConfig(posterior=CONFIG), seed=0)
    assert planner.beliefs(records[:3]) is None
    beliefs = planner.beliefs(records)
    assert beliefs is not None
    assert beliefs.paid()["family"]


def test_where_two_failures_make_the_mean_no_edit_is_said_to_do_harm() -> None:
    gains = {"insert": (-3, 1, 2, -40), "set_args": (1, 2, 0.5), "delete": (-1, 0.4), "replace": (1, -70, 3, 2)}
    children = [_child(10 * i + j, kind, g) for i, (kind, gs) in enumerate(gains.items()) for j, g in enumerate(gs)]
    parent = Record(tree="p", profile=None, accuracy=50.0, plan=None)
    found = edits([parent, *children])["kind"]
    assert len(found) == len(gains)
    assert all(effect.mean < 0 and effect.low < 0 < effect.high for effect in found)
