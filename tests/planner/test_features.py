from __future__ import annotations

import math
from dataclasses import replace

import pytest

from llmastool.planner.features import features, label, leaf_most
from llmastool.trees.flow import JOIN, Flow
from llmastool.trees.profile import Profile, Slot
from tests.planner.synthetic import slot


def _profile(*slots: Slot, flow: Flow | None = None, **extra: float) -> Profile:
    return Profile(
        slots=slots,
        in_shape=(2, 3, 8, 8),
        out_shape=(2, 10),
        parameters=999,
        flops=10**6,
        depth=2,
        flow=flow or Flow(),
        extra=extra,
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
    assert found["motif"] == {"residual/convolution": math.log1p(1)}


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
        "parameters": math.log(1000),
        "flops": math.log1p(10**6),
        "depth": math.log1p(2),
        "shortest": math.log1p(2),
        "mean": math.log1p(2),
        "ways": 0.0,
        "slots": math.log1p(3),
        "downsampling": 3.0,
        "resolution": 2.0,
        "extra:proxy": 0.5,
    }


def test_a_network_without_a_slot_has_features() -> None:
    found = features(_profile())
    assert found["family"] == found["stage"] == found["motif"] == {}
    assert found["cost"]["resolution"] == 0.0


def _branches() -> Profile:
    """Two convolutions in a branch beside an identity; and a third one that nothing reads."""
    names = ("body", "body.0", "body.1", "skip", "dead", "head")
    kinds = ("sequence", "convolution", "convolution", "identity", "convolution", "linear")
    slots = [slot(name, kind, (2, 8, 8, 8), 100) for name, kind in zip(names, kinds, strict=True)]
    return _profile(*slots, flow=Flow((1, 2, 3, JOIN, 5), ((-1, 0), (-1, 2), (0, 1), (1, 3), (2, 3), (3, 4), (4, 5))))


def test_what_the_output_does_not_depend_on_does_not_count() -> None:
    found = features(_branches())
    assert found["family"] == {"convolution": math.log1p(2), "identity": math.log1p(1), "linear": math.log1p(1)}
    cost = found["cost"]
    assert cost["parameters"] == pytest.approx(math.log1p(999 - 100))
    assert [math.expm1(cost[name]) for name in ("depth", "shortest", "mean")] == pytest.approx([3, 2, 2.5])
    assert cost["ways"] == pytest.approx(math.log(2))


def test_motifs_follow_the_flow_at_every_level() -> None:
    motif = features(_branches())["motif"]
    level = {"in>sequence", "in>identity", "sequence>linear", "identity>linear", "linear>out"}
    inner = {"in>convolution", "convolution>convolution", "convolution>out", "in>convolution>convolution"}
    longer = {"in>sequence>linear", "in>identity>linear", "sequence>linear>out", "identity>linear>out"}
    expected = level | inner | longer | {"convolution>convolution>out", "sequence/convolution"}
    assert {name for name in motif if not name.startswith(("m.", "in>m."))} == expected
    assert motif["in>identity"] == math.log1p(1)


def test_a_label_says_what_kind_a_module_is_not_how_wide() -> None:
    module = slot("a", "convolution", (2, 8, 4, 4), 50)
    wide = replace(module, module="torch.nn.Conv2d", args={"in_channels": 8, "kernel_size": 3, "bias": False})
    assert label(wide) == 'torch.nn.Conv2d{"bias":false,"kernel_size":3}'
    assert label(replace(wide, args={})) == "torch.nn.Conv2d"
