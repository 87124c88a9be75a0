"""The choice of one round: the worth of every option, and which of them are picked, one after another."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from llmastool.planner import archive
from llmastool.planner.batch import Batch
from llmastool.planner.config import PlannerConfig
from llmastool.planner.objective import Steps
from llmastool.planner.plan import FRESH, Option, Plan, Record
from llmastool.planner.pool import Pool
from llmastool.planner.posterior import Posterior
from llmastool.planner.report import IMPROVEMENT, NO_POSTERIOR, QUOTA
from llmastool.planner.rungs import carried
from llmastool.planner.scores import FrontArea, Improvement, Net, Scores, Spread, Thompson
from llmastool.planner.seconds import expected_seconds
from llmastool.planner.space import Coordinates, FeatureSpace, distances
from llmastool.planner.success import Success
from llmastool.planner.table import Floats, View


class Round:
    """What there is to choose from in a round, and what is believed of it."""

    def __init__(
        self,
        config: PlannerConfig,
        records: Sequence[Record],
        options: Sequence[Option],
        n: int,
        table: View,
        posterior: Posterior | None,
        rng: np.random.Generator,
        pending: Sequence[Option] = (),
    ) -> None:
        """Begin a round.

        Args:
            config: how it is decided.
            records: all that was evaluated.
            options: what could be done, of distinct keys.
            n: how many are picked, 0 or more; all where there are fewer.
            table: the features of all these networks.
            posterior: what is believed; None where that is too early.
            rng: what draws from the posterior.
            pending: what was picked before and is still evaluated.
        """
        self._config, self._records, self._options, self._n = config, records, [*pending, *options], n
        self._pending = len(pending)
        self._table, self._posterior, self._rng = table, posterior, rng
        self._observed = archive.usable(records)
        self._networks = table.values([option.tree for option in self._options])
        self._batch = Batch(self._options, n, records, table, trials=config.trials, pending=self._pending)

    @property
    def families(self) -> Counter[str]:
        """Trials by family, those of the picks included."""
        return self._batch.families

    def worth(self) -> Floats:
        """Return what every option is worth by itself, shape `(options,)`; units as `config.acquisition` has them."""
        return self._scores().values() * self._chances()

    def plans(self, *, before: int) -> list[Plan]:
        """Pick; `before` is how many plans earlier rounds made, which settles the quota's turn."""
        n = min(self._n, len(self._options) - self._pending)
        if not n:
            return []
        chances, scores = self._chances(), self._scores()
        for index in range(self._pending):
            scores.take(index)
        owed = _turns(self._config.quota, before, n)
        reasons = []
        for number in range(n):
            index, reason = self._pick(scores.values() * chances, owed=n - number <= owed)
            reasons.append(reason)
            self._batch.add(index)
            if number < n - 1:
                scores.take(index)
        picks = np.array(self._batch.picks[self._pending :])
        return [
            Plan.of(self._options[i], reason, gain=float(gain), spread=float(spread), novelty=float(novelty))
            for i, reason, gain, spread, novelty in zip(
                picks, reasons, *self._forecast(picks), self._distance(picks), strict=True
            )
        ]

    @cached_property
    def _seen(self) -> list[str]:
        return [record.tree for record in self._records if record.profile is not None]

    @cached_property
    def _coordinates(self) -> Coordinates:
        return self._space.transform(self._networks)

    @cached_property
    def _space(self) -> FeatureSpace:
        if self._posterior is not None:
            return self._posterior.space
        return FeatureSpace.fit(self._table.values(self._seen) if self._seen else self._networks)

    @cached_property
    def _pool(self) -> Pool:
        assert self._posterior is not None
        return self._posterior.pool(self._networks)

    @cached_property
    def _novelty(self) -> Floats:
        return self._distance(np.arange(len(self._options)))

    def _distance(self, options: NDArray[np.intp]) -> Floats:
        """Return the distance of some options to the nearest network that was evaluated; zeros where there is none."""
        if not self._seen:
            return np.zeros(len(options))
        known = self._space.transform(self._table.values(self._seen))
        some = {group: rows[options] for group, rows in self._coordinates.items()}
        return np.asarray(distances(known, some).min(axis=0))

    def _chances(self) -> Floats:
        """Return by what the worth of every option is multiplied: its success, and where asked for the time saved."""
        success = Success(self._records)
        chances = np.array([success.probability(option) for option in self._options])
        if self._config.per_second:
            chances = chances / expected_seconds(self._records, [option.profile for option in self._options])
        return chances

    def _pick(self, worth: Floats, *, owed: bool) -> tuple[int, str]:
        """Return the next pick and its reason; `owed` says whether it may go to a family that is owed a trial."""
        batch = self._batch
        if self._posterior is None:
            if any(option.kind != FRESH for option in self._options[self._pending :]):
                return batch.in_turn(worth, self._novelty), NO_POSTERIOR
            # Networks far apart say most of what costs and counts are worth; the first is an end by itself.
            first = not self._seen and not batch.picks
            return batch.best(self._sizes() if first else worth), NO_POSTERIOR
        waiting = batch.waiting() if owed else []
        index = batch.owed(waiting, worth, self._novelty) if waiting else None
        return (index, QUOTA) if index is not None else (batch.best(worth), IMPROVEMENT)

    def _sizes(self) -> Floats:
        return np.array([float(option.profile.parameters) for option in self._options])

    def _scores(self) -> Scores:
        posterior, objective = self._posterior, self._config.objective
        if posterior is None:
            return Spread(self._coordinates, self._novelty if self._seen else np.full(len(self._options), np.inf))
        if self._config.acquisition == "thompson":
            return Thompson(self._pool, self._rng)
        if objective.kind == "accuracy":
            return Improvement(self._pool, posterior.best, float(posterior.warp.apply([100.0])[0]))
        # What is believed of the networks seen, their luck taken out.
        believed = posterior.accuracy(self._table.values([r.tree for r in self._observed]))[0]
        profiles = [r.profile for r in self._observed if r.profile is not None]
        if objective.kind == "price":
            paid = np.array([objective.charge(profile) for profile in profiles])
            prices = np.array([objective.charge(option.profile) for option in self._options])
            # Where no cost was measured so far, whatever has a finite one is better.
            return Net(self._pool, posterior.warp, prices, max(float(np.max(believed - paid)), -100.0))
        spent = np.array([objective.of(profile) for profile in profiles])
        costs = np.array([objective.of(option.profile) for option in self._options])
        return FrontArea(self._pool, posterior.warp, costs, _steps(spent, believed, costs))

    def _forecast(self, picks: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Return gains and spreads of some options in percentage points; zeros where no posterior says anything."""
        if self._posterior is None:
            return np.zeros(len(picks)), np.zeros(len(picks))
        known = archive.accuracies(carried(self._records))
        mean, spread = self._posterior.warp.points(self._pool.mean[picks], self._pool.spread[picks])
        # A parent that was never trained has no accuracy to gain on; the best one is the honest bar.
        best = max(archive.accuracies(self._records).values())
        return mean - np.array([known.get(self._options[i].parent, best) for i in picks]), spread


def _steps(spent: Floats, believed: Floats, costs: Floats) -> Steps:
    """Return the front of what is believed of the networks seen."""
    every = [cost for cost in (*spent.tolist(), *costs.tolist()) if 0 < cost < math.inf] or [1.0]
    return Steps(spent, believed, min(every), max(every) * math.e, float(believed.min()))


def _turns(share: float, before: int, n: int) -> int:
    """Return how many of the plans number `before` to `before + n` fall to a share of all plans."""
    return math.floor((before + n) * share + 1e-9) - math.floor(before * share + 1e-9)
