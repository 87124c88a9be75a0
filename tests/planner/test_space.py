from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from llmastool.planner.features import GROUPS
from llmastool.planner.space import LEAST_SCALE, UNSEEN_SCALE, FeatureSpace, align, distances
from llmastool.planner.table import Floats, Table
from tests.planner.synthetic import Network, draw, values

COUNTS = ("family", "module", "function", "stage", "motif")


def _values(**groups: Floats) -> dict[str, Floats]:
    """Values in which groups that are not named are one column of zeros, costs two equal sizes."""
    rows = len(next(iter(groups.values())))
    rest = {group: np.zeros((rows, 1)) for group in COUNTS}
    return {"cost": np.full((rows, 2), math.log1p(1000)), **rest, **groups}


def test_groups_weigh_alike_whatever_their_width() -> None:
    seen = values(draw(100, seed=0), Table())
    coordinates = FeatureSpace.fit(seen).transform(seen)
    widths = {group: coordinates[group].shape[1] for group in GROUPS}
    assert widths["motif"] > 3 * widths["family"]
    for group in COUNTS:
        assert np.mean(np.sum(coordinates[group] ** 2, axis=1)) == pytest.approx(1.0)


def test_two_networks_are_about_root_two_apart() -> None:
    seen = values(draw(100, seed=0), Table())
    space = FeatureSpace.fit(seen)
    between = distances(space.transform(seen), space.transform(seen))
    apart = between[~np.eye(100, dtype=bool)]
    # Of the costs five do not vary in this landscape, which takes a little from the average over the groups.
    assert np.sqrt(np.mean(apart**2)) == pytest.approx(math.sqrt(2), rel=0.07)
    assert apart.min() > 0.1


def test_counts_of_a_group_share_one_scale() -> None:
    rng = np.random.default_rng(0)
    counts = np.stack([rng.normal(0, 0.2, 50), rng.normal(0, 1.0, 50), np.zeros(50)], axis=1)
    seen = _values(family=counts)
    moved = FeatureSpace.fit(seen).transform(seen)["family"]
    common = np.sqrt(np.mean(counts[:, :2].std(axis=0) ** 2))
    assert moved[:, :2] == pytest.approx((counts - counts.mean(axis=0))[:, :2] / common / math.sqrt(2))
    assert moved[:, 1].std() / moved[:, 0].std() == pytest.approx(counts[:, 1].std() / counts[:, 0].std())


def test_costs_are_z_scores() -> None:
    seen = values(draw(60, seed=0), Table())
    moved = FeatureSpace.fit(seen).transform(seen)["cost"] * math.sqrt(seen["cost"].shape[1])
    varied = seen["cost"].std(axis=0) > 0.2
    assert varied.sum() >= 2
    assert moved[:, varied].mean(axis=0) == pytest.approx(np.zeros(varied.sum()), abs=1e-9)
    assert moved[:, varied].std(axis=0) == pytest.approx(np.ones(varied.sum()))


def test_a_hairs_breadth_does_not_become_a_mile() -> None:
    costs = np.stack([*np.full((2, 4), math.log1p(1000)), np.array([1.0, 1.0, 1.0, 1.001])], axis=1)
    seen = {**_values(family=np.zeros((4, 1))), "cost": costs}
    moved = FeatureSpace.fit(seen).transform(seen)["cost"]
    assert np.ptp(moved[:, 2]) == pytest.approx(0.001 / LEAST_SCALE / math.sqrt(3))


def test_sizes_are_measured_by_the_median() -> None:
    sizes = np.array([10.0, 1000.0, 4000.0, 900.0, 1100.0])
    seen = _values(family=np.zeros((5, 1)))
    seen["cost"] = np.stack([np.log1p(sizes), np.full(5, math.log1p(7))], axis=1)
    moved = FeatureSpace.fit(seen).transform(seen)["cost"]
    measured = np.log1p(sizes / 1000)
    assert moved[:, 0] == pytest.approx((measured - measured.mean()) / measured.std() / math.sqrt(2))
    # Far below the median sizes hardly differ; their logarithms would.
    assert moved[0, 0] - moved[3, 0] == pytest.approx(moved[3, 0] - moved[2, 0], rel=0.5)


def test_constant_columns_are_exactly_zero() -> None:
    same = Network(("convolution",) * 6, (1,) * 6)
    seen = {group: np.repeat(matrix, 7, axis=0) for group, matrix in values([same], Table()).items()}
    assert all(not moved.any() for moved in FeatureSpace.fit(seen).transform(seen).values())
    # The mean of seven times 0.1 is not 0.1, which a small scale would blow up.
    odd = _values(motif=np.full((7, 1), 0.1))
    assert not FeatureSpace.fit(odd).transform(odd)["motif"].any()


def test_columns_newer_than_the_scaling_are_scaled_like_the_others() -> None:
    table = Table()
    same, other = Network(("convolution",) * 6, (1,) * 6), Network(("convolution",) * 5 + ("attention",), (1,) * 6)
    once = values([same], table)
    space = FeatureSpace.fit({group: np.repeat(matrix, 3, axis=0) for group, matrix in once.items()})
    both = values([same, other], table)
    moved = space.transform(both)
    known = once["family"].shape[1]
    new = table.names("family").index("attention")
    assert new >= known
    assert moved["family"][1, new] == pytest.approx(math.log1p(1) / UNSEEN_SCALE / math.sqrt(known))
    assert not moved["family"][0].any()
    first, second = align(space.transform(once)["family"], moved["family"])
    assert first.shape[1] == second.shape[1] == moved["family"].shape[1]
    between = distances(space.transform(once), moved)
    assert between[0, 0] == 0
    assert between[0, 1] > 0.5


def test_columns_that_nothing_seen_holds_do_not_thin_out_a_group() -> None:
    """The table holds the options' columns too; what was seen must not look smaller for it."""
    networks = draw(30, seed=0)
    alone, table = values(networks, Table()), Table()
    with_others = values([*networks, *draw(200, seed=7)], table)
    seen = {group: matrix[:30] for group, matrix in with_others.items()}
    few, many = (FeatureSpace.fit(x).transform(x) for x in (alone, seen))
    assert many["motif"].shape[1] > few["motif"].shape[1]
    assert distances(few, few) == pytest.approx(distances(many, many))


def test_identical_networks_are_at_distance_zero() -> None:
    networks = draw(30, seed=0)
    seen = values(networks, Table())
    space = FeatureSpace.fit(seen)
    moved = space.transform(seen)
    one = {group: matrix[4:5] for group, matrix in moved.items()}
    assert np.all(np.diag(distances(moved, moved)) == 0)
    assert distances(one, moved)[0, 4] == 0


def test_a_size_far_beyond_what_was_seen_stays_finite() -> None:
    small = Network(("convolution",) * 6, (1,) * 6).profile()
    table = Table()
    ids = table.add(
        [
            ("small", small),
            ("huge", replace(small, parameters=10**15, flops=10**18)),
            ("none", replace(small, parameters=0, flops=0)),
        ]
    )
    for reference in (["small"] * 2, ["none"] * 2):
        space = FeatureSpace.fit(table.values(reference))
        assert all(np.isfinite(moved).all() for moved in space.transform(table.values(ids)).values())


def test_a_space_needs_a_network() -> None:
    with pytest.raises(ValueError, match="1 network or more, got none"):
        FeatureSpace.fit(Table().values([]))
