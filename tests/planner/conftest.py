from __future__ import annotations

import pytest

from llmastool.planner.features import features
from llmastool.planner.posterior import Posterior, fit
from tests.planner.synthetic import draw, measure


@pytest.fixture(scope="session")
def posterior() -> Posterior:
    """Forty networks of the synthetic landscape, fitted."""
    networks = draw(240, seed=1)[:40]
    return fit([features(n.profile()) for n in networks], measure(networks, seed=1), seed=0)
