"""Regularised evolution (Real et al. 2019): tournaments within a population from which the oldest leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmastool import seeds
from llmastool.config import require
from llmastool.planner.baselines.common import ALL, accuracy, distinct, first, fresh, report, shuffled, trained
from llmastool.planner.plan import Option, Plan, Record, Wishes
from llmastool.planner.report import Report

EVOLUTION = "evolution"
"""Reason of its plans."""

_RESERVE = 4
"""Further tournaments, for winners of which nothing untried is left."""


@dataclass(frozen=True, kw_only=True)
class EvolutionConfig:
    """Sizes of the published algorithm, there P and S."""

    population: int = 20
    """Networks that can be parents: those trained last. So many are drawn anew before the first edit."""
    sample: int = 5
    """Networks drawn for a tournament, 1 to `population`."""

    def __post_init__(self) -> None:
        require(self.population >= 1, "population", "1 or more", self.population)
        expected = f"1 to population ({self.population})"
        require(1 <= self.sample <= self.population, "sample", expected, self.sample)


class Evolution:
    """The best of a sample of the population has a child by one random edit; the child comes in, the oldest leaves.

    A sample is drawn with replacement, as in the paper's pseudocode and in the code published with it. All children
    of a round are of the population before the round. A candidate that fell takes no place in the population: the
    published algorithm has none that fall, and a place that can win no tournament would make the population smaller
    than it says. A network is never proposed twice, unlike in the paper: a parent without an untried edit gives its
    turn to the winner of a further tournament.
    """

    def __init__(self, config: EvolutionConfig, seed: int) -> None:
        self.config, self.seed = config, seed

    def wishes(self, records: Sequence[Record], n: int, *, round: int) -> Wishes:
        """Wish for networks drawn anew while the population is not full, then for all edits of those that won."""
        if self._is_young(records):
            return Wishes(fresh=n)
        # Should no winner have an untried edit, one network drawn anew keeps the search going.
        return Wishes(parents=tuple(dict.fromkeys(self._winners(records, n, round))), edits=ALL, fresh=1)

    def plan(
        self, records: Sequence[Record], options: Sequence[Option], n: int, *, round: int
    ) -> tuple[list[Plan], Report]:
        """Take one edit of every winner, drawn evenly among those offered."""
        rng, known = seeds.generator(self.seed, EVOLUTION, "edits", round), distinct(options)
        picks: list[Option] = []
        for winner in () if self._is_young(records) else self._winners(records, n, round):
            taken = {option.tree for option in picks}
            untried = [o for o in known if o.parent == winner and o.tree not in taken]
            if untried and len(picks) < n:
                picks.append(untried[rng.integers(len(untried))])
        picks = picks or first(shuffled(fresh(known), rng), n)
        return report(round, records, known, [Plan.of(option, EVOLUTION) for option in picks])

    def _is_young(self, records: Sequence[Record]) -> bool:
        return len(trained(records)) < self.config.population

    def _winners(self, records: Sequence[Record], n: int, round: int) -> list[str]:
        """Return the parents of `n` children, and a few in reserve; one can win more than once."""
        rng = seeds.generator(self.seed, EVOLUTION, "tournaments", round)
        population = trained(records)[-self.config.population :]
        winners = []
        for _ in range(n + _RESERVE if n else 0):
            sample = [population[i] for i in rng.integers(len(population), size=self.config.sample)]
            winners.append(max(sample, key=lambda record: accuracy(record) or 0.0).tree)
        return winners
