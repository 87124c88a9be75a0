"""Searches in NAS-Bench-201's table: what is asked for, what it costs to find, and how far from the best it stays."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.nb201.space import Space
from llmastool.canonical import Json
from llmastool.planner.beliefs import Beliefs
from llmastool.planner.plan import Option, Plan, Record
from llmastool.planner.planner import Planner
from llmastool.planner.strategy import Strategy

SETTINGS = ("open", "capped", "priced")
CAP = 0.4
"""Largest size in the capped setting, as a share of the largest."""
PRICE = 0.15
"""Percentage points for a unit of weights in the priced setting."""


@dataclass(frozen=True)
class Problem:
    """A space with the rewards of one data set in one setting."""

    space: Space
    data: str
    """Column of the table: `cifar10` or `cifar100`."""
    setting: str
    noise: float
    """Standard deviation of an evaluation, in percentage points."""
    accuracies: np.ndarray
    """Test accuracy of every cell after 200 epochs, mean over seeds, in percent."""
    price_told: bool = False
    """Whether evaluations give accuracies, and the price is for who searches to take off, instead of their sum."""

    @staticmethod
    def of(space: Space, table: Path, data: str, setting: str, noise: float) -> Problem:
        """Read the accuracies."""
        return Problem(space, data, setting, noise, pl.read_parquet(table)[data].to_numpy())

    @property
    def rewards(self) -> np.ndarray:
        """What is searched for, free of noise."""
        return self.accuracies - self._prices

    @property
    def charges(self) -> np.ndarray:
        """What is taken off what evaluations give."""
        return self._prices if self.price_told else np.zeros(len(self.accuracies))

    @property
    def _prices(self) -> np.ndarray:
        return PRICE * self.space.units if self.setting == "priced" else np.zeros(len(self.accuracies))

    @property
    def open(self) -> np.ndarray:
        """Which cells may be proposed."""
        largest = CAP * self.space.units.max() if self.setting == "capped" else np.inf
        return self.space.units <= largest

    def noisy(self, seed: int) -> np.ndarray:
        """Return what evaluations give: the noise is fixed for a cell and a seed."""
        told = self.rewards + self.charges
        return told + np.random.default_rng([seed, 77]).normal(0.0, self.noise, len(told))


Make = Callable[[Problem, int], Strategy]
"""Makes a strategy for a problem and a seed."""


def search(problem: Problem, make: Make, seed: int, evaluations: int, batch: int) -> np.ndarray:
    """Run one search.

    Returns:
        After every evaluation the regret of the incumbent, in percentage points free of noise. The incumbent is the
        cell of the best noisy reward so far; for the planner, that of the best estimate, as it has estimates to choose
        finalists by.
    """
    space, noisy, open_, charges = problem.space, problem.noisy(seed), problem.open, problem.charges
    strategy, rng = make(problem, seed), np.random.default_rng([seed, 5])
    records: list[Record] = []
    seen: list[int] = []
    incumbents: list[int] = []

    def chosen(beliefs: Beliefs | None) -> int:
        estimates = beliefs.estimates() if beliefs is not None else {}
        return max(seen, key=lambda i: estimates.get(space.trees[i], noisy[i]) - charges[i])

    for number in range(evaluations):
        if len(seen) >= evaluations:
            break
        n = min(batch, evaluations - len(seen))
        wishes = strategy.wishes(records, n, round=number)
        options = space.options(wishes, set(seen), open_, rng)
        # What decides this round is believed after the last one: it says which of its cells was the best.
        plans, beliefs = _decided(strategy, records, options, n, number)
        assert plans, f"no plan after {len(seen)} evaluations"
        incumbents += [chosen(beliefs)] if seen else []
        for last, plan in enumerate(plans, 1 - len(plans)):
            position = space.at[plan.tree]
            seen.append(position)
            accuracy = float(noisy[position])
            records.append(
                Record(tree=plan.tree, profile=space.profiles[position], accuracy=accuracy, plan=plan.to_json())
            )
            if last or len(seen) == evaluations:
                incumbents.append(chosen(strategy.beliefs(records) if isinstance(strategy, Planner) else None))
    return np.asarray(problem.rewards[open_].max() - problem.rewards[incumbents])


def _decided(
    strategy: Strategy, records: Sequence[Record], options: Sequence[Option], n: int, number: int
) -> tuple[list[Plan], Beliefs | None]:
    if isinstance(strategy, Planner):
        plans, _, beliefs = strategy.decide(records, options, n, round=number)
        return plans, beliefs
    return strategy.plan(records, options, n, round=number)[0], None


_SHARED: dict[str, object] = {}


def _one(seed: int) -> np.ndarray:
    problem, make, evaluations, batch = _SHARED["task"]  # type: ignore[misc]
    return search(problem, make, seed, evaluations, batch)


def regrets(
    problem: Problem, make: Make, seeds: Sequence[int], evaluations: int, batch: int = 1, processes: int | None = None
) -> np.ndarray:
    """Run searches side by side; return their regrets, shape `(seeds, evaluations)`."""
    # The space is inherited by the processes that are forked, not sent to them.
    _SHARED["task"] = problem, make, evaluations, batch
    gc.freeze()  # the space is never freed; without this, every collection goes through all of it
    with multiprocessing.get_context("fork").Pool(processes or os.cpu_count()) as pool:
        return np.stack(pool.map(_one, seeds, chunksize=1))


def evaluations_to(regret: np.ndarray, level: float) -> int | None:
    """Return after how many evaluations the mean regret is at most `level` for the first time; None where never."""
    reached = np.flatnonzero(regret.mean(axis=0) <= level)
    return int(reached[0]) + 1 if len(reached) else None


def summary(regret: np.ndarray, budgets: Sequence[int], level: float = 0.5) -> Json:
    """Return the figures of one method in one setting."""
    known = [b for b in budgets if b <= regret.shape[1]]
    return {
        "seeds": len(regret),
        "evaluations": regret.shape[1],
        "evaluations_to_half_point": evaluations_to(regret, level),
        "regret": {
            str(b): {
                "mean": float(regret[:, b - 1].mean()),
                "standard_error": float(regret[:, b - 1].std(ddof=1) / len(regret) ** 0.5),
            }
            for b in known
        },
        "mean_curve": [round(float(v), 4) for v in regret.mean(axis=0)],
    }
