from __future__ import annotations

from collections.abc import Iterator

import pytest

from llmastool.planner.config import PosteriorConfig
from llmastool.planner.posterior import Posterior, fit
from llmastool.planner.threads import one_thread
from tests.planner.synthetic import draw, measure, values


@pytest.fixture(scope="module", autouse=True)
def one_thread_each() -> Iterator[None]:
    """Small matrices, for which threads only wait for each other."""
    with one_thread():
        yield


@pytest.fixture(scope="session")
def posterior() -> Posterior:
    """Forty networks of the synthetic landscape, sampled."""
    networks = draw(240, seed=1)[:40]
    return fit(values(networks), measure(networks, seed=1), seed=0)


@pytest.fixture(scope="session")
def fitted() -> Posterior:
    """The same, fitted around the mode."""
    networks = draw(240, seed=1)[:40]
    return fit(values(networks), measure(networks, seed=1), seed=0, config=PosteriorConfig(method="fit"))
