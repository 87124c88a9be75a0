"""Which strategy the parameters ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from llmastool.planner.baselines.evolution import Evolution
from llmastool.planner.baselines.largest_first import LargestFirst
from llmastool.planner.baselines.local_search import LocalSearch
from llmastool.planner.baselines.random_search import RandomSearch
from llmastool.planner.planner import Planner
from llmastool.planner.strategy import Strategy

if TYPE_CHECKING:
    from llmastool.params import Params


def make_strategy(params: Params) -> Strategy:
    """Return what decides in a search: the planner, or a baseline in its place."""
    search, seed = params.search, params.seed
    match search.strategy:
        case "planner":
            return Planner(params.planner, seed, edits=search.pool, doubles=search.doubles, fresh=search.fresh)
        case "random":
            return RandomSearch(seed)
        case "evolution":
            return Evolution(search.baselines.evolution, seed)
        case "local":
            return LocalSearch(search.baselines.local, seed)
        case "largest":
            return LargestFirst(search.baselines.largest)
    assert_never(search.strategy)
