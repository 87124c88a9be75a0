from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare

from benchmarks.nb201.sbc import ranks
from llmastool.planner import model
from llmastool.planner.config import PosteriorConfig
from llmastool.planner.space import Coordinates, FeatureSpace
from llmastool.planner.table import Table
from tests.planner.synthetic import draw, values

DRAWS = 9
"""Posterior draws per replication: few, so that every rank is expected ten times in a hundred replications."""


def _coordinates() -> Coordinates:
    seen = values(draw(30, seed=1), Table())
    return FeatureSpace.fit(seen).transform(seen)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_true_unknowns_rank_uniformly_among_the_samplers_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    # Short chains of many fits: some are above the limit by chance, and what replaces them is no sampler's.
    monkeypatch.setattr(model, "MAX_RHAT", 1.1)
    config = PosteriorConfig(draws=200, tune=150, chains=2)
    found = ranks(_coordinates(), 100, DRAWS, seed=0, config=config)
    assert found.shape == (100, 6)
    usual = np.sqrt(((DRAWS + 1) ** 2 - 1) / 12 / len(found))
    for column in found.T:
        # The mean tells a bias sooner than the counts do; 3.3 is again one in a thousand.
        assert abs(column.mean() - DRAWS / 2) < 3.3 * usual
        assert chisquare(np.bincount(column, minlength=DRAWS + 1)).pvalue > 0.001


def test_ranks_are_counts_and_can_be_repeated() -> None:
    config = PosteriorConfig(method="fit", thinned=64, costs=False)
    found = ranks(_coordinates(), 40, DRAWS, seed=0, config=config)
    assert found.shape == (40, 5)
    assert found.min() == 0 and found.max() == DRAWS
    assert np.array_equal(found, ranks(_coordinates(), 40, DRAWS, seed=0, config=config))
    assert not np.array_equal(found[:5], ranks(_coordinates(), 5, DRAWS, seed=1, config=config))
