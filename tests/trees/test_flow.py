"""The flow of networks."""

import math

import pytest

from llmastool.start import skeleton
from llmastool.start_config import Skeleton
from llmastool.trees.catalog import Catalog
from llmastool.trees.flow import IN, JOIN, Flow
from llmastool.trees.observe import Network
from llmastool.trees.profile import Profile
from llmastool.trees.tree import Tree
from tests.trees.test_parts import IN_SHAPE, RELU, row


def pairs(profile: Profile) -> set[tuple[str, str]]:
    """Return which slot follows which, by path."""
    paths = [slot.path for slot in profile.slots]
    return {
        (paths[a] if a is not None else "in", paths[b] if b is not None else "out")
        for a, b in profile.flow.neighbours()
    }


def test_a_skeleton_flows_through_its_branches(catalog: Catalog) -> None:
    network = Network(skeleton(Skeleton(channels=4, cells=1, stages=2), 3, 7), catalog, IN_SHAPE)
    flow, found = network.profile.flow, pairs(network.profile)
    ways = flow.ways({i: float(slot.parameters > 0) for i, slot in enumerate(network.profile.slots)})
    assert ways.log_number == pytest.approx(3 * math.log(2))
    assert ways.longest == 2 + 3 * 4 + 2  # stem, three residual cells, and the head's norm and linear layer
    assert ways.shortest == 2 + 1 + 2  # the shortcut that strides has a convolution
    assert ways.mean == pytest.approx(2 + (4 + 0) / 2 + (4 + 1) / 2 + (4 + 0) / 2 + 2)
    assert {("stem.1", "stage1.0.body.0"), ("stem.1", "stage1.0.shortcut"), ("head.4", "out")} <= found
    assert ("stage1.0.body.5", "reduce1.body.0") in found  # through the sum
    assert ("stage1.0.body.0", "stage1.0.shortcut") not in found


def test_mined_forwards_are_followed_too(mined: Network) -> None:
    flow = mined.profile.flow
    assert flow.nodes and {flow.nodes[n] for n in flow.before[flow.out]} != {JOIN}
    assert Profile.from_json(mined.profile.to_json()).flow == flow


def test_what_does_not_reach_the_output_is_left_out(catalog: Catalog) -> None:
    gone = Tree("torch.nn.Threshold", {"threshold": 0.0, "value": 0.0})
    network = Network(row(RELU, Tree("llmastool.blocks.Residual", {}, (("body", gone),))), catalog, IN_SHAPE)
    assert pairs(network.profile) == {
        ("in", "0"), ("0", "1.body"), ("0", "1.shortcut"), ("1.body", "out"), ("1.shortcut", "out"),
    }  # fmt: skip
    dead = Flow.of([0, 1, 2], [(IN, 0), (IN, 1), (2, 3), (0, 3)])  # 1 is read by nothing, 2 reads nothing
    assert dead == Flow((0,), ((IN, 0), (0, 1)))
    assert Flow.of([0], [(IN, 0)]) == Flow()


def test_joins_of_joins_are_one() -> None:
    flow = Flow.of([0, 1, JOIN, 2, JOIN], [(IN, 0), (IN, 1), (IN, 3), (0, 2), (1, 2), (2, 4), (3, 4), (4, 5)])
    assert flow.nodes == (0, 1, 2, JOIN)
    assert set(flow.neighbours()) == {(None, 0), (None, 1), (None, 2), (0, None), (1, None), (2, None)}
    kept = Flow.of([0, JOIN, 1, JOIN], [(IN, 0), (IN, 1), (0, 1), (1, 2), (1, 3), (2, 3), (3, 4)])
    assert kept.nodes.count(JOIN) == 2  # the first is read by a module as well


def test_a_row_flows_as_its_parts_do() -> None:
    both = Flow((0, 1), ((IN, 0), (IN, 1), (0, 2), (1, 2)))
    whole = Flow.in_row([(both, 0), (both, 2)])
    assert whole.nodes == (0, 1, 2, 3)
    assert whole.ways({0: 1.0, 1: 5.0, 2: 2.0, 3: 1.0}) == pytest.approx((math.log(4), 7.0, 2.0, 4.5))
    assert Flow().ways({}) == (0.0, 0.0, 0.0, 0.0)
    assert Flow.in_row([(Flow((), ((IN, 0),)), 0), (both, 1)]) == both.shifted(1)
    assert Flow.in_row([(both, 0), (Flow(), 2)]) == Flow()
