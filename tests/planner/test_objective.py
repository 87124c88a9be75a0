from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from llmastool.config import from_mapping
from llmastool.errors import ConfigError
from llmastool.planner.config import ObjectiveConfig
from llmastool.planner.objective import Steps, front, lead
from llmastool.planner.plan import Record
from llmastool.planner.posterior import Posterior
from llmastool.planner.scores import FrontArea, Improvement, Net, Thompson
from llmastool.planner.table import Floats
from tests.planner.synthetic import Network, draw, record, values

NEW = draw(240, seed=1)[40:52]


def _cheap(count: int) -> list[Record]:
    """Networks of random sizes and accuracies, some of them equal in one or both."""
    rng = np.random.default_rng(count)
    made = []
    for network, size, accuracy in zip(
        draw(count, seed=0), rng.integers(1, 12, count), rng.integers(40, 52, count), strict=True
    ):
        made.append(record(network, float(accuracy)))
        profile = made[-1].profile
        assert profile is not None
        made[-1] = replace(made[-1], profile=replace(profile, parameters=int(size) * 10**6))
    return made


def test_what_networks_cost_and_are_worth() -> None:
    profile = replace(NEW[0].profile(), parameters=3 * 10**6, flops=50, extra={"latency": 0.5})
    costs = [ObjectiveConfig(cost=cost).of(profile) for cost in ("parameters", "flops", "latency", "memory")]
    assert costs == [3e6, 50.0, 0.5, math.inf]
    assert ObjectiveConfig(kind="price", price=0.4).reward(60.0, profile) == pytest.approx(60.0 - 1.2)
    assert ObjectiveConfig(kind="price", price=2.0, cost="memory").reward(60.0, profile) == -math.inf
    for kind in ("accuracy", "front"):
        assert ObjectiveConfig(kind=kind, price=0.4).reward(60.0, profile) == 60.0


def test_a_price_of_nothing_costs_nothing_even_where_it_was_not_measured() -> None:
    assert ObjectiveConfig(kind="price", price=0.0, cost="memory").reward(60.0, NEW[0].profile()) == 60.0


@pytest.mark.parametrize("count", [1, 2, 10, 60])
def test_the_front_is_what_no_other_network_beats(count: int) -> None:
    records = _cheap(count)
    fallen = [
        Record(tree="gone", profile=None, accuracy=None, plan=None),
        record(NEW[0], None),
        record(NEW[1], math.nan),
        record(NEW[2], 1e9),
    ]
    config = ObjectiveConfig(kind="front")
    points = [(config.of(r.profile), r.accuracy or 0.0) for r in records if r.profile is not None]
    expected = [
        (cost, accuracy)
        for i, (cost, accuracy) in enumerate(points)
        if not any(
            c <= cost and a >= accuracy and (c < cost or a > accuracy or j < i) for j, (c, a) in enumerate(points)
        )
    ]
    found = front([*fallen, *records], config)
    assert [(config.of(r.profile), r.accuracy) for r in found if r.profile] == sorted(expected)
    first = {point: r.tree for point, r in reversed(list(zip(points, records, strict=True)))}
    assert [r.tree for r in found] == [first[point] for point in sorted(expected)]
    assert front(fallen, config) == []


def _area(costs: Floats, accuracies: Floats, low: float, high: float, floor: float) -> float:
    """Area under a front over the logarithm of cost, by a fine grid."""
    grid = np.exp(np.linspace(math.log(low), math.log(high), 4001))
    heights = np.max(np.where(costs[:, None] <= grid, accuracies[:, None], floor), axis=0)
    return float(np.trapezoid(np.maximum(heights, floor), np.log(grid)))


def test_widths_of_steps() -> None:
    steps = Steps(np.array([10.0, 100.0]), np.array([50.0, 60.0]), 1.0, 1000.0, 40.0)
    assert steps.heights.tolist() == [40.0, 50.0, 60.0]
    found = steps.widths(np.array([1.0, 10.0, math.sqrt(1000.0), 500.0, 1000.0, 5000.0]))
    ten = math.log(10)
    assert found == pytest.approx(
        np.array([[1, 1, 1], [0, 1, 1], [0, 0.5, 1], [0, 0, math.log10(2)], [0, 0, 0], [0, 0, 0]]) * ten
    )


def test_widths_of_what_costs_nothing_or_was_not_measured() -> None:
    steps = Steps(np.array([0.0, 10.0, math.inf]), np.array([50.0, 60.0, 70.0]), 1.0, 1000.0, 40.0)
    found = steps.widths(np.array([0.0, 1.0, math.inf]))
    assert np.isfinite(found).all()
    assert found[0] == pytest.approx(found[1])
    assert not found[2].any()


def test_the_growth_of_the_area_is_the_sum_over_the_steps() -> None:
    costs, heights = np.array([3.0, 20.0, 90.0]), np.array([50.0, 55.0, 62.0])
    steps = Steps(costs, heights, 1.0, 400.0, 45.0)
    before = _area(costs, heights, 1.0, 400.0, 45.0)
    for cost, accuracy in ((1.0, 70.0), (5.0, 52.0), (5.0, 58.0), (20.0, 54.0), (60.0, 66.0), (350.0, 99.0)):
        grown = _area(np.append(costs, cost), np.append(heights, accuracy), 1.0, 400.0, 45.0) - before
        said = steps.widths(np.array([cost]))[0] @ np.maximum(accuracy - steps.heights, 0.0)
        assert said == pytest.approx(grown, abs=0.1)


def _simulated(posterior: Posterior, networks: dict[str, Floats], count: int = 20000) -> Floats:
    """Draw noise-free accuracies of every network on its own, shape `(draws, networks)`."""
    pool = posterior.pool(networks)
    rng = np.random.default_rng(0)
    which = rng.integers(len(pool.means), size=count)
    sds = np.sqrt(pool.variances)[which]
    return posterior.warp.invert(pool.means[which] + sds * rng.standard_normal(sds.shape))


def test_a_lead_is_the_expected_excess(fitted: Posterior) -> None:
    networks = values(NEW)
    drawn = _simulated(fitted, networks)
    for level in (40.0, float(np.median(drawn)), float(np.quantile(drawn, 0.98))):
        excess = np.maximum(drawn - level, 0.0)
        error = excess.std(axis=0) / math.sqrt(len(drawn))
        # Fifteen nodes are not exact at the kink.
        assert np.all(np.abs(lead(fitted.pool(networks), fitted.warp, level) - excess.mean(axis=0)) < 4 * error + 0.05)


def test_nothing_is_expected_beyond_the_ceiling(fitted: Posterior) -> None:
    networks = values(NEW)
    pool = fitted.pool(networks)
    best, ceiling = fitted.best, fitted.best + 0.3
    worth = Improvement(pool, best, ceiling).values()
    rng = np.random.default_rng(0)
    which = rng.integers(len(pool.means), size=20000)
    sds = np.sqrt(pool.variances)[which]
    gains = np.clip(pool.means[which] + sds * rng.standard_normal(sds.shape) - best, 0.0, ceiling - best)
    assert np.all(np.abs(worth - gains.mean(axis=0)) < 4 * gains.std(axis=0) / math.sqrt(len(which)) + 1e-3)
    assert np.all(worth < pool.expected_improvement(best))
    scores = Improvement(pool, best, best - 1.0)
    assert np.all(scores.values() == 0)


def test_the_worth_net_of_a_price_is_the_expected_excess(fitted: Posterior) -> None:
    networks = values(NEW)
    prices = np.linspace(0.0, 6.0, len(NEW))
    drawn = _simulated(fitted, networks)
    best = float(np.median(drawn)) - 3
    net = Net(fitted.pool(networks), fitted.warp, prices, best)
    excess = np.maximum(drawn - prices - best, 0.0)
    error = excess.std(axis=0) / math.sqrt(len(drawn))
    assert np.all(np.abs(net.values() - excess.mean(axis=0)) < 4 * error + 0.05)
    first = net.values()
    index = int(np.argmax(first))
    net.take(index)
    assert np.all(net.values() <= first + 1e-9)
    assert net.values()[index] < 0.5 * first[index]


def test_the_worth_for_a_front_is_the_expected_growth_of_its_area(fitted: Posterior) -> None:
    networks = values(NEW)
    drawn = _simulated(fitted, networks, 400)
    middle = float(np.median(drawn))
    costs, heights = np.array([3.0, 20.0, 90.0]), middle + np.array([-4.0, -1.0, 2.0])
    new = np.exp(np.linspace(0.1, math.log(390), len(NEW)))
    steps = Steps(costs, heights, 1.0, 400.0, middle - 8)
    scores = FrontArea(fitted.pool(networks), fitted.warp, new, steps)
    worth = scores.values()
    before = _area(costs, heights, 1.0, 400.0, middle - 8)
    for i, cost in enumerate(new):
        grown = np.array(
            [
                _area(np.append(costs, cost), np.append(heights, accuracy), 1.0, 400.0, middle - 8) - before
                for accuracy in drawn[:, i]
            ]
        )
        assert abs(worth[i] - grown.mean()) < 4 * grown.std() / math.sqrt(len(grown)) + 0.1


def test_a_pick_for_a_front_is_part_of_it_from_then_on(fitted: Posterior) -> None:
    """Else its likes at the same cost, and all that it beats, would be picked in the same round."""
    networks, costs = values([NEW[0], *NEW]), np.full(len(NEW) + 1, 20.0)
    floor = float(np.min(_simulated(fitted, networks, 100)))
    scores = FrontArea(
        fitted.pool(networks), fitted.warp, costs, Steps(np.array([3.0]), np.array([floor + 1]), 1.0, 400.0, floor)
    )
    worth = scores.values()
    scores.take(0)
    assert np.all(scores.values() < worth)
    assert np.all(scores.values()[:2] < 0.2 * worth[:2])


def test_steps_forget_what_is_beaten() -> None:
    steps = Steps(np.array([90.0, 3.0, 20.0, 20.0]), np.array([54.0, 50.0, 55.0, 52.0]), 1.0, 400.0, 45.0)
    assert steps.heights.tolist() == [45.0, 50.0, 55.0]
    assert np.exp(steps.edges) == pytest.approx([1.0, 3.0, 20.0, 400.0])
    assert steps.plus(2.0, 51.0).heights.tolist() == [45.0, 51.0, 55.0]
    assert steps.plus(30.0, 54.0).heights.tolist() == steps.heights.tolist()
    assert steps.plus(30.0, 60.0).heights.tolist() == [45.0, 50.0, 55.0, 60.0]


def test_draws_of_thompson_differ_and_can_be_repeated(fitted: Posterior) -> None:
    networks = values([*NEW, Network(("recurrent",) * 6, (1,) * 6), Network(("depthwise",) * 6, (2,) * 6)])

    def worths(seed: int) -> list[Floats]:
        scores = Thompson(fitted.pool(networks), np.random.default_rng(seed))
        found = []
        for _ in range(30):
            found.append(scores.values())
            scores.take(int(np.argmax(found[-1])))
        return found

    first = worths(0)
    assert all(np.all(worth > 0) for worth in first)
    assert np.array_equal(first, worths(0))
    assert not np.array_equal(first, worths(1))
    assert not np.allclose(first[0], first[1])
    picks = {int(np.argmax(worth)) for worth in first}
    assert len(picks) > 1
    assert len(NEW) not in picks, "what is sure to be bad is never drawn best"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"kind": "size"}, "params.kind: expected one of 'accuracy', 'price', 'front', got 'size'"),
        ({"price": -1.0}, "params.price: expected a finite number from 0"),
        ({"cost": ""}, "params.cost: expected parameters, flops or the name of a measure"),
    ],
)
def test_configuration_is_checked(config: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(ObjectiveConfig, config)
