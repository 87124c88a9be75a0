from __future__ import annotations

import math

import numpy as np
import pytest

from llmastool.planner.features import GROUPS, features, leaf_most
from llmastool.planner.space import FeatureSpace, distances
from llmastool.trees.profile import Profile, Slot
from tests.planner.synthetic import Network, draw, slot


def _profile(*slots: Slot, **extra: float) -> Profile:
    return Profile(
        slots=slots, in_shape=(2, 3, 8, 8), out_shape=(2, 10), parameters=999, flops=10**6, depth=2, extra=extra
    )


def test_counts_are_of_the_leaf_most_known_modules() -> None:
    block = slot("block", "residual", (2, 8, 8, 8), 100)
    known = slot("block.conv", "convolution", (2, 8, 8, 8), 50, calls=2)
    wrapper = slot("head", "attention", (2, 8, 4, 4), 40, stage=1)
    foreign = slot("head.inner", "unknown", (2, 8, 4, 4), 40, stage=1)
    profile = _profile(block, known, wrapper, foreign)
    assert [s.path for s in leaf_most(profile.slots)] == ["block.conv", "head"]
    found = features(profile)
    assert found["family"] == {"attention": math.log1p(1), "convolution": math.log1p(2)}
    assert found["stage"] == {"0:convolution": math.log1p(2), "1:attention": math.log1p(1)}
    assert found["motif"] == {"convolution>attention": math.log1p(1), "residual/convolution": math.log1p(1)}


def test_a_parent_that_no_registry_knows_is_skipped_over() -> None:
    outer = slot("a", "stage", (2, 8, 8, 8), 9)
    between = slot("a.b", "unknown", (2, 8, 8, 8), 9)
    inner = slot("a.b.c", "convolution", (2, 8, 8, 8), 9)
    assert features(_profile(outer, between, inner))["motif"] == {"stage/convolution": math.log1p(1)}


def test_costs() -> None:
    late = slot("b", "convolution", (2, 8, 4, 4), 50, stage=1)
    pooled = slot("c", "linear", (2, 8, 1, 1), 50, stage=3)
    cost = features(_profile(slot("a", "convolution", (2, 8, 8, 8), 50), late, pooled, proxy=0.5, broken=math.nan))[
        "cost"
    ]
    assert cost == {
        "parameters": pytest.approx(3),
        "flops": pytest.approx(6, abs=1e-6),
        "depth": math.log1p(2),
        "slots": math.log1p(3),
        "downsampling": 3.0,
        "resolution": 2.0,
        "extra:proxy": 0.5,
    }


def test_a_network_without_a_slot_has_features() -> None:
    found = features(_profile())
    assert found["family"] == found["stage"] == found["motif"] == {}
    assert found["cost"]["resolution"] == 0.0


def test_groups_weigh_alike_whatever_their_width() -> None:
    seen = [features(n.profile()) for n in draw(100, seed=0)]
    coordinates = FeatureSpace.fit(seen).transform(seen)
    widths = {group: coordinates[group].shape[1] for group in GROUPS}
    assert widths["motif"] > 3 * widths["family"]
    for group in ("family", "stage", "motif"):
        assert np.mean(np.sum(coordinates[group] ** 2, axis=1)) == pytest.approx(1.0, rel=0.05)


def test_constant_columns_are_zero_and_new_features_keep_a_fixed_scale() -> None:
    same = Network(("convolution",) * 6, (1,) * 6)
    space = FeatureSpace.fit([features(same.profile())] * 3)
    assert all(not values.any() for values in space.transform([features(same.profile())]).values())
    other = Network(("convolution",) * 5 + ("attention",), (1,) * 6)
    moved = space.transform([features(other.profile())])
    known = len(space.columns["family"])
    assert moved["family"].shape == (1, known + 1)
    assert moved["family"][0, known] == pytest.approx(math.log1p(1) / 0.5 / math.sqrt(known))
    assert distances(space.transform([features(same.profile())]), moved)[0, 0] > 0.5


def test_a_seen_network_is_at_distance_zero() -> None:
    seen = [features(n.profile()) for n in draw(30, seed=0)]
    space = FeatureSpace.fit(seen)
    between = distances(space.transform(seen), space.transform(seen))
    assert np.all(np.diag(between) == 0)
    assert between[~np.eye(30, dtype=bool)].min() > 0.1


def test_a_space_needs_a_network() -> None:
    with pytest.raises(ValueError, match="1 network or more, got none"):
        FeatureSpace.fit([])
