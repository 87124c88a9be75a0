"""The planner: from what was evaluated and what could be done, the few edits to try next."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from llmastool import seeds
from llmastool.config import require
from llmastool.planner import archive
from llmastool.planner.batch import Batch
from llmastool.planner.features import Features, features
from llmastool.planner.model import PosteriorConfig
from llmastool.planner.plan import Option, Plan, Record
from llmastool.planner.posterior import Posterior, fit
from llmastool.planner.report import IMPROVEMENT, NO_POSTERIOR, QUOTA, Report, calibration
from llmastool.planner.scores import Improvement, Scores, Spread
from llmastool.planner.space import FeatureSpace, Floats, distances
from llmastool.planner.success import success_probability
from llmastool.planner.threads import one_thread


@dataclass(frozen=True, kw_only=True)
class PlannerConfig:
    """How the planner decides."""

    elites: int = 6
    """Trees that are edited in a round."""
    min_observations: int = 6
    """Trained trees before the posterior is used; until then plans are spread out."""
    quota: float = 0.25
    """Share of all plans that goes to the families and kinds of edit tried least, 0 to 1."""
    posterior: PosteriorConfig = field(default_factory=PosteriorConfig)
    """How the posterior is computed."""

    def __post_init__(self) -> None:
        require(self.elites >= 1, "elites", "1 or more", self.elites)
        require(self.min_observations >= 2, "min_observations", "2 or more", self.min_observations)
        require(0 <= self.quota <= 1, "quota", "0 to 1", self.quota)


class Planner:
    """Chooses parents and edits. It keeps no state: the same records, options and round give the same plans."""

    def __init__(self, config: PlannerConfig, seed: int) -> None:
        self.config = config
        self.seed = seed

    def elites(self, records: Sequence[Record], n: int | None = None) -> list[str]:
        """Return the ids of the `n` trees (by default `config.elites`) worth editing; see `archive.elites`."""
        return archive.elites(records, self.config.elites if n is None else n)

    def plan(
        self, records: Sequence[Record], options: Sequence[Option], n: int, *, round: int
    ) -> tuple[list[Plan], Report]:
        """Choose `n` options of distinct keys; all of them where there are fewer.

        Most plans go to the highest expected improvement times probability of success, each pick after the beliefs that
        the picks before it imply; `config.quota` of all plans, counted over the rounds, to the families tried least.
        Before there are `config.min_observations`, every family gets its turn, farthest first.

        Args:
            records: all that was evaluated, in order.
            options: what could be done; of several with one key the first counts.
            n: how many plans, 0 or more.
            round: number of the round, which settles the seed and the quota's turn.

        Warns:
            PlannerWarning: the posterior did not converge.
        """
        rng = seeds.generator(self.seed, "planner", round)
        fit_seed = int(rng.integers(2**31))
        first = {option.key: option for option in reversed(options)}
        # A random order settles ties, so that neither the alphabet nor the caller does.
        distinct = [first[key] for key in rng.permutation(sorted(first))]
        batch = Batch(distinct, n, records)
        with one_thread():
            posterior = self._posterior(records, fit_seed) if distinct and n > 0 else None
            plans = self._choose(batch, records, distinct, posterior, min(n, len(distinct)), round * n)
        report = Report(
            round=round,
            options=len(distinct),
            observations=len(_observed(records)),
            rules=dict(Counter(plan.reason for plan in plans)),
            families=dict(sorted(batch.families.items())),
            posterior=None if posterior is None else posterior.diagnostics.to_json(),
            calibration=calibration(records),
        )
        return plans, report

    def _posterior(self, records: Sequence[Record], seed: int) -> Posterior | None:
        if len(_observed(records)) < self.config.min_observations:
            return None
        # Accuracies that are no use go in as well: the fit leaves them out, and its diagnostics say so.
        pairs = [(features(r.profile), r.accuracy) for r in records if r.profile and r.accuracy is not None]
        networks, accuracies = zip(*pairs, strict=True)
        return fit(networks, accuracies, seed=seed, config=self.config.posterior)

    def _choose(
        self,
        batch: Batch,
        records: Sequence[Record],
        options: Sequence[Option],
        posterior: Posterior | None,
        n: int,
        before: int,
    ) -> list[Plan]:
        """Pick `n` options; `before` is how many plans earlier rounds made."""
        if not n:
            return []
        networks = [features(option.profile) for option in options]
        seen = [features(record.profile) for record in records if record.profile is not None]
        space = FeatureSpace.fit(seen or networks)
        novelty = _novelty(space, seen, networks)
        success = np.array([success_probability(records, option) for option in options])
        scores: Scores = (
            Spread(space.transform(networks), novelty, success)
            if posterior is None
            else Improvement(posterior, networks, success)
        )
        owed = n if posterior is None else _turns(self.config.quota, before, n)
        for number in range(n):
            values = scores.values()
            index = batch.best(values) if number < n - owed else batch.owed(values, novelty)
            batch.add(index)
            scores.take(index)
        gain, spread = _forecast(posterior, records, options, networks)
        reasons = [IMPROVEMENT] * (n - owed) + [QUOTA if posterior else NO_POSTERIOR] * owed
        return [
            Plan(
                parent=options[i].parent,
                slot=options[i].slot,
                kind=options[i].kind,
                family=options[i].family,
                expected_gain=float(gain[i]),
                spread=float(spread[i]),
                novelty=float(novelty[i]),
                reason=reason,
            )
            for i, reason in zip(batch.picks, reasons, strict=True)
        ]


def _observed(records: Sequence[Record]) -> list[Record]:
    return [r for r in records if r.profile is not None and archive.is_usable(r.accuracy)]


def _turns(share: float, before: int, n: int) -> int:
    """Return how many of the plans number `before` to `before + n` fall to a share of all plans."""
    return math.floor((before + n) * share + 1e-9) - math.floor(before * share + 1e-9)


def _novelty(space: FeatureSpace, seen: Sequence[Features], networks: Sequence[Features]) -> Floats:
    if not seen:
        return np.zeros(len(networks))
    return np.asarray(distances(space.transform(seen), space.transform(networks)).min(axis=0))


def _forecast(
    posterior: Posterior | None, records: Sequence[Record], options: Sequence[Option], networks: Sequence[Features]
) -> tuple[Floats, Floats]:
    """Return expected gains and spreads in percentage points; zeros where no posterior says anything."""
    if posterior is None:
        return np.zeros(len(options)), np.zeros(len(options))
    known = {r.tree: r.accuracy for r in records if r.accuracy is not None and archive.is_usable(r.accuracy)}
    mean, spread = posterior.accuracy(networks)
    # A parent that was never trained has no accuracy to gain on; the best one is the honest bar.
    parents = np.array([known.get(option.parent, max(known.values())) for option in options])
    return mean - parents, spread
