"""The planner: from what was evaluated and what could be done, the few edits to try next."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from llmastool import seeds
from llmastool.config import require
from llmastool.planner import archive
from llmastool.planner.batch import Batch
from llmastool.planner.explain import paid
from llmastool.planner.model import PosteriorConfig
from llmastool.planner.objective import ObjectiveConfig, Steps, front
from llmastool.planner.plan import FRESH, Option, Plan, Record, Wishes
from llmastool.planner.posterior import Posterior, fit
from llmastool.planner.report import IMPROVEMENT, NO_POSTERIOR, QUOTA, Effect, Report, calibration
from llmastool.planner.scores import FrontArea, Improvement, Net, Scores, Spread, Thompson
from llmastool.planner.seconds import expected_seconds
from llmastool.planner.space import FeatureSpace, distances
from llmastool.planner.success import Success
from llmastool.planner.table import Floats, Table, View
from llmastool.planner.threads import one_thread


@dataclass(frozen=True, kw_only=True)
class PlannerConfig:
    """How the planner decides."""

    elites: int = 6
    """Trees that are edited in a round."""
    top: int = archive.TOP
    """So many of them are the best ones whatever they are like; the others are the best of other cells."""
    start: int = 0
    """Networks drawn anew, spread over their sizes, before edits begin; the start population counts."""
    min_observations: int = 6
    """Trained trees before the posterior is used; until then plans are spread out."""
    quota: float = 0.25
    """Share of all plans, at most, that goes to families which had no fair trial yet, 0 to 1."""
    trials: int = 2
    """A family had its fair trial when so many networks that hold it were evaluated."""
    acquisition: Literal["improvement", "thompson"] = "improvement"
    """Expected improvement, or a draw from the posterior (of accuracy alone)."""
    per_second: bool = False
    """Whether an option's worth is divided by the seconds that its training is expected to take. Times differ from run
    to run, so a search that uses them can be resumed and replayed, but not repeated."""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    """What is to be improved."""
    posterior: PosteriorConfig = field(default_factory=PosteriorConfig)
    """How the posterior is computed."""

    def __post_init__(self) -> None:
        require(self.elites >= 1, "elites", "1 or more", self.elites)
        require(self.top >= 1, "top", "1 or more", self.top)
        require(self.start >= 0, "start", "0 or more", self.start)
        require(self.min_observations >= 2, "min_observations", "2 or more", self.min_observations)
        require(0 <= self.quota <= 1, "quota", "0 to 1", self.quota)
        require(self.trials >= 1, "trials", "1 or more", self.trials)
        known = self.acquisition in ("improvement", "thompson")
        require(known, "acquisition", "improvement or thompson", self.acquisition)
        plain = self.acquisition == "improvement" or self.objective.kind == "accuracy"
        require(plain, "acquisition", f"improvement for the objective {self.objective.kind}", self.acquisition)


class Planner:
    """Chooses parents and edits. It keeps no state: the same records, options and round give the same plans."""

    def __init__(
        self,
        config: PlannerConfig,
        seed: int,
        *,
        edits: int = 96,
        doubles: int = 0,
        fresh: int = 0,
        table: Table | None = None,
    ) -> None:
        """Make a planner.

        Args:
            config: how it decides.
            seed: settles ties and the posterior's draws.
            edits: single edits that it wants to see in a round.
            doubles: pairs of edits that it wants to see.
            fresh: networks drawn anew that it wants to see.
            table: features that are known already.
        """
        self.config, self.seed = config, seed
        self.edits, self.doubles, self.fresh = edits, doubles, fresh
        self._table = table or Table()

    def elites(self, records: Sequence[Record]) -> list[str]:
        """Return the ids of the trees worth editing: the front where it is asked for, then as `archive.elites` does."""
        objective, n = self.config.objective, self.config.elites
        edge = [r.tree for r in front(records, objective)] if objective.kind == "front" else []
        even = np.linspace(0, len(edge) - 1, min(n, len(edge))).round().astype(int)
        ranked = [edge[i] for i in even] + archive.elites(records, n, objective.reward, self.config.top)
        return list(dict.fromkeys(ranked))[:n]

    def wishes(self, records: Sequence[Record], n: int, *, round: int) -> Wishes:
        """Return what is to be looked at: edits of the elites, and networks drawn anew."""
        del n, round
        if len(archive.usable(records)) < self.config.start:
            return Wishes(fresh=max(self.fresh, 1))
        parents = tuple(self.elites(records))
        return Wishes(parents=parents, edits=self.edits, doubles=self.doubles, fresh=self.fresh)

    def plan(
        self, records: Sequence[Record], options: Sequence[Option], n: int, *, round: int
    ) -> tuple[list[Plan], Report]:
        """Choose `n` options of distinct keys; all of them where there are fewer.

        Plans go to the highest worth (`config.acquisition` of `config.objective`) times probability of success, each
        pick after the beliefs that the picks before it imply; `config.quota` of all plans at most, counted over the
        rounds, to the families that had no fair trial yet. Before there are `config.min_observations`, every family
        gets its turn, farthest first.

        Args:
            records: all that was evaluated, in order.
            options: what could be done; of several with one key the first counts.
            n: how many plans, 0 or more.
            round: number of the round, which settles the seed and the quota's turn.

        Warns:
            PlannerWarning: the posterior did not converge.
        """
        rng = seeds.generator(self.seed, "planner", round)
        first = {option.key: option for option in reversed(options)}
        # A random order settles ties, so that neither the alphabet nor the caller does.
        distinct = [first[key] for key in rng.permutation(sorted(first))]
        trees = self._table.add((r.tree, r.profile) for r in records if r.profile is not None)
        trees += self._table.add((option.tree, option.profile) for option in distinct)
        # Without what only earlier rounds saw, so that a search that is resumed goes on as it would have.
        table = self._table.only(trees)
        batch = Batch(distinct, n, records, table, trials=self.config.trials)
        with one_thread():
            posterior = self._posterior(records, table, rng) if distinct and n > 0 else None
            plans = self._choose(batch, table, records, distinct, posterior, min(n, len(distinct)), round * n, rng)
        report = Report(
            round=round,
            options=len(distinct),
            observations=len(archive.usable(records)),
            rules=dict(Counter(plan.reason for plan in plans)),
            families=dict(sorted(batch.families.items())),
            posterior=None if posterior is None else posterior.diagnostics.to_json(),
            calibration=calibration(records),
        )
        return plans, report

    def posterior(self, records: Sequence[Record]) -> Posterior | None:
        """Return what is believed after these records; None while there are too few observations."""
        return self._believed(records)[0]

    def explain(self, records: Sequence[Record]) -> dict[str, list[Effect]]:
        """Return what families, modules and motifs are worth after these records; nothing while that is too early."""
        posterior, view = self._believed(records)
        with one_thread():
            return paid(posterior, view) if posterior is not None else {}

    def _believed(self, records: Sequence[Record]) -> tuple[Posterior | None, View]:
        view = self._table.only(self._table.add((r.tree, r.profile) for r in records if r.profile is not None))
        with one_thread():
            return self._posterior(records, view, seeds.generator(self.seed, "planner", "posterior")), view

    def _posterior(self, records: Sequence[Record], table: View, rng: np.random.Generator) -> Posterior | None:
        seed = int(rng.integers(2**31))
        if len(archive.usable(records)) < self.config.min_observations:
            return None
        # Accuracies that are no use go in as well: the fit leaves them out, and its diagnostics say so.
        told = [(r.tree, r.accuracy) for r in records if r.profile and r.accuracy is not None]
        accuracies = [accuracy for _, accuracy in told]
        return fit(table.values([tree for tree, _ in told]), accuracies, seed=seed, config=self.config.posterior)

    def _choose(
        self,
        batch: Batch,
        table: View,
        records: Sequence[Record],
        options: Sequence[Option],
        posterior: Posterior | None,
        n: int,
        before: int,
        rng: np.random.Generator,
    ) -> list[Plan]:
        """Pick `n` options; `before` is how many plans earlier rounds made."""
        if not n:
            return []
        seen = [r.tree for r in records if r.profile is not None]
        known, networks = table.values(seen), table.values([option.tree for option in options])
        space = FeatureSpace.fit(known if seen else networks)
        coordinates = space.transform(networks)
        novelty = distances(space.transform(known), coordinates).min(axis=0) if seen else np.zeros(len(options))
        chances = Success(records)
        success = np.array([chances.probability(option) for option in options])
        if self.config.per_second:
            success = success / expected_seconds(records, [option.profile for option in options])
        scores: Scores = (
            Spread(coordinates, novelty)
            if posterior is None
            else self._scores(posterior, table, records, options, networks, rng)
        )
        reasons = []
        owed = _turns(self.config.quota, before, n)
        for number in range(n):
            index, reason = self._pick(
                batch, scores.values() * success, novelty, records, options, posterior, n - number <= owed
            )
            reasons.append(reason)
            batch.add(index)
            scores.take(index)
        picks = np.array(batch.picks)
        gain, spread = _forecast(
            posterior, records, [options[i] for i in picks], {g: v[picks] for g, v in networks.items()}
        )
        return [
            Plan.of(options[i], reason, gain=float(g), spread=float(s), novelty=float(novelty[i]))
            for i, reason, g, s in zip(picks, reasons, gain, spread, strict=True)
        ]

    def _pick(
        self,
        batch: Batch,
        worth: Floats,
        novelty: Floats,
        records: Sequence[Record],
        options: Sequence[Option],
        posterior: Posterior | None,
        turn: bool,
    ) -> tuple[int, str]:
        """Return the next pick and its reason; `turn` says whether it may go to a family that is owed a trial."""
        if posterior is None:
            if all(option.kind == FRESH for option in options):
                number = len(archive.usable(records)) + len(batch.picks)
                return _of_size(options, batch, number, max(self.config.start, 2)), NO_POSTERIOR
            return batch.in_turn(worth, novelty), NO_POSTERIOR
        index = batch.owed(worth, novelty) if turn else None
        return (index, QUOTA) if index is not None else (batch.best(worth), IMPROVEMENT)

    def _scores(
        self,
        posterior: Posterior,
        table: View,
        records: Sequence[Record],
        options: Sequence[Option],
        networks: dict[str, Floats],
        rng: np.random.Generator,
    ) -> Scores:
        objective = self.config.objective
        if self.config.acquisition == "thompson":
            return Thompson(posterior, networks, rng)
        if objective.kind == "accuracy":
            return Improvement(posterior, networks)
        observed = archive.usable(records)
        # What is believed of the networks seen, their luck taken out.
        believed = posterior.accuracy(table.values([r.tree for r in observed]))[0]
        if objective.kind == "price":
            paid = np.array([objective.charge(r.profile) for r in observed if r.profile is not None])
            prices = np.array([objective.charge(option.profile) for option in options])
            # Where no cost was measured so far, whatever has a finite one is better.
            return Net(posterior, networks, prices, max(float(np.max(believed - paid)), -100.0))
        spent = np.array([objective.of(r.profile) for r in observed if r.profile is not None])
        costs = np.array([objective.of(option.profile) for option in options])
        return FrontArea(posterior, networks, costs, _steps(spent, believed, costs))


def _steps(spent: Floats, believed: Floats, costs: Floats) -> Steps:
    """Return the front of what is believed of the networks seen."""
    every = [cost for cost in (*spent.tolist(), *costs.tolist()) if 0 < cost < math.inf] or [1.0]
    return Steps(spent, believed, min(every), max(every) * math.e, float(believed.min()))


def _turns(share: float, before: int, n: int) -> int:
    """Return how many of the plans number `before` to `before + n` fall to a share of all plans."""
    return math.floor((before + n) * share + 1e-9) - math.floor(before * share + 1e-9)


def _of_size(options: Sequence[Option], batch: Batch, number: int, count: int) -> int:
    """Return the option whose size stands where the network of this number should among `count` of all sizes."""
    allowed = batch.allowed()
    sizes = np.array([options[i].profile.parameters for i in allowed])
    order = np.argsort(sizes, kind="stable")
    share = (number % count) / (count - 1)
    return int(allowed[order[round(share * (len(order) - 1))]])


def _forecast(
    posterior: Posterior | None, records: Sequence[Record], picked: Sequence[Option], networks: dict[str, Floats]
) -> tuple[Floats, Floats]:
    """Return expected gains and spreads in percentage points; zeros where no posterior says anything."""
    if posterior is None:
        return np.zeros(len(picked)), np.zeros(len(picked))
    known = {r.tree: r.accuracy for r in records if r.accuracy is not None and archive.is_usable(r.accuracy)}
    mean, spread = posterior.accuracy(networks)
    # A parent that was never trained has no accuracy to gain on; the best one is the honest bar.
    parents = np.array([known.get(option.parent, max(known.values())) for option in picked])
    return mean - parents, spread
