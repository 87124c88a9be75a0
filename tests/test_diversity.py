from __future__ import annotations

import dataclasses
import itertools
import time
from statistics import fmean

import pytest

from llmastool.diversity import Diversity, diversity
from llmastool.trees.distance import distance, signature
from llmastool.trees.profile import Profile
from tests.planner.synthetic import BLOCKS, FAMILIES, Network, draw


def profile(*families: str) -> Profile:
    return Network((families * BLOCKS)[:BLOCKS], (1,) * BLOCKS).profile()


def test_what_is_in_use_is_counted_once_and_stays_in_use() -> None:
    a, b, c = FAMILIES[:3]
    found = diversity([(0, profile(a)), (1, profile(a, b)), (1, None), (2, profile(a)), (3, profile(c))])
    root = 1  # the network itself, which the registry knows by its family here
    assert [d.families for d in found] == [root + n for n in (1, 2, 2, 3)]
    assert [d.modules for d in found] == [root + n for n in (1, 2, 2, 3)]
    assert [d.round for d in found] == [0, 1, 2, 3]


def test_what_no_registry_knows_is_not_counted() -> None:
    known = profile(FAMILIES[0])
    strange = [dataclasses.replace(slot, module="", family="unknown") for slot in known.slots]
    (found,) = diversity([(0, dataclasses.replace(known, slots=tuple(strange)))])
    assert (found.families, found.modules) == (0, 0)


def test_the_distance_is_the_mean_over_pairs_of_one_round() -> None:
    networks = [network.profile() for network in draw(6, seed=1)]
    found = diversity([(i // 3, network) for i, network in enumerate(networks)])
    for members, round_ in zip((networks[:3], networks[3:]), found, strict=True):
        pairs = itertools.combinations(map(signature, members), 2)
        assert round_.distance == pytest.approx(fmean(distance(a, b) for a, b in pairs))
    assert diversity([(0, networks[0]), (0, networks[0])])[0].distance == pytest.approx(0.0, abs=1e-9)


def test_without_two_networks_there_is_no_distance() -> None:
    a = profile(FAMILIES[0])
    assert [d.distance for d in diversity([(0, a), (0, None), (1, None), (2, a), (3, a)])] == [None] * 4
    assert diversity([]) == []


def test_it_is_read_back_as_written() -> None:
    found = diversity([(0, profile(FAMILIES[0])), (0, profile(FAMILIES[1]))])
    assert [Diversity(**d.to_json()) for d in found] == found


def test_a_long_search_takes_seconds() -> None:
    networks = [network.profile() for network in draw(500, seed=0)]
    begin = time.process_time()
    found = diversity([(i // 25, network) for i, network in enumerate(networks)])
    assert len(found) == 20 and time.process_time() - begin < 5.0
