"""The methods that are compared on NAS-Bench-201, each made for a problem and a seed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from benchmarks.nb201.runs import Make, Problem
from benchmarks.nb201.tpe import TPE
from llmastool import seeds
from llmastool.planner.baselines.evolution import Evolution, EvolutionConfig
from llmastool.planner.baselines.largest_first import LargestFirst, LargestFirstConfig
from llmastool.planner.baselines.local_search import LocalSearch, LocalSearchConfig
from llmastool.planner.baselines.random_search import RandomSearch
from llmastool.planner.config import ObjectiveConfig, PlannerConfig, PosteriorConfig
from llmastool.planner.plan import Option, Plan, Record, Wishes
from llmastool.planner.planner import Planner
from llmastool.planner.report import Report
from llmastool.planner.strategy import Strategy

ALL = 10**6
"""More edits than there are."""

FRESH = 1000
"""Cells drawn anew that the planner looks at for every choice."""

CONFIG = PlannerConfig(start=4, min_observations=4, posterior=PosteriorConfig(method="fit", thinned=8))
"""The planner as it is compared: the defaults, but that it begins with nothing, and that the posterior is fitted around
its mode instead of drawn by NUTS, which takes thirty times as long (the part `nuts` compares the two)."""


def planner(problem: Problem, seed: int, config: PlannerConfig = CONFIG) -> Planner:
    """Make the planner; it looks at all single and double edits of its elites."""
    return Planner(config, seed, edits=ALL, doubles=ALL, fresh=FRESH, table=problem.space.table)


def _evolution(_: Problem, seed: int, population: int, sample: int) -> Strategy:
    return Evolution(EvolutionConfig(population=population, sample=sample), seed)


class Largest:
    """Largest first over the whole space: it is shown the largest cells that are left, equals in random order."""

    def __init__(self, problem: Problem, seed: int) -> None:
        random = np.random.default_rng([seed, 3]).random(len(problem.space.cells))
        order = np.lexsort((random, -problem.space.units))
        self._order = [int(i) for i in order if problem.open[i]]
        self._space, self._inner = problem.space, LargestFirst(LargestFirstConfig())

    def wishes(self, records: Sequence[Record], n: int, *, round: int) -> Wishes:
        del records, n, round
        return Wishes()

    def plan(
        self, records: Sequence[Record], options: Sequence[Option], n: int, *, round: int
    ) -> tuple[list[Plan], Report]:
        seen = {self._space.at[record.tree] for record in records}
        left = itertools.islice((i for i in self._order if i not in seen), n)
        return self._inner.plan(records, [*options, *map(self._space.fresh, left)], n, round=round)


class Uniform:
    """The planner's pool without its posterior: any of the options."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner

    def wishes(self, records: Sequence[Record], n: int, *, round: int) -> Wishes:
        return self._planner.wishes(records, n, round=round)

    def plan(
        self, records: Sequence[Record], options: Sequence[Option], n: int, *, round: int
    ) -> tuple[list[Plan], Report]:
        rng = seeds.generator(self._planner.seed, "uniform", round)
        picks = rng.choice(len(options), min(n, len(options)), replace=False)
        report = Report(
            round=round, options=len(options), observations=len(records), rules={}, families={}, posterior=None,
            calibration=None,
        )  # fmt: skip
        return [Plan.of(options[i], "uniform") for i in picks], report


def _uniform(problem: Problem, seed: int) -> Strategy:
    return Uniform(planner(problem, seed))


OURS = "planner"

PEERS: Mapping[str, Make] = {
    "random": lambda _, seed: RandomSearch(seed),
    "evolution 20/5": partial(_evolution, population=20, sample=5),
    "evolution 10/3": partial(_evolution, population=10, sample=3),
    "local search": lambda _, seed: LocalSearch(LocalSearchConfig(), seed),
    "largest first": Largest,
    "tpe": TPE,
}

ABLATIONS: Mapping[str, Make] = {
    "without diversity": partial(planner, config=replace(CONFIG, quota=0.0, top=CONFIG.elites)),
    "without the posterior": _uniform,
    "without cost covariates": partial(
        planner, config=replace(CONFIG, posterior=replace(CONFIG.posterior, costs=False))
    ),
}


def _thompson(problem: Problem, seed: int) -> Strategy:
    """Draw from the posterior, over a smaller pool: a joint draw takes the cube of its size."""
    config = replace(CONFIG, acquisition="thompson")
    return Planner(config, seed, edits=ALL, fresh=200, table=problem.space.table)


THOMPSON: Make = _thompson
NUTS: Make = partial(planner, config=replace(CONFIG, posterior=PosteriorConfig(thinned=8)))


def knowing_the_price(points: float) -> Make:
    """Return the planner that is told accuracies and the price of a million parameters, instead of their sum."""
    objective = ObjectiveConfig(kind="price", cost="parameters", price=points)
    return partial(planner, config=replace(CONFIG, objective=objective))
