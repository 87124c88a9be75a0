"""The planner: from what was evaluated and what could be done, the few edits to try next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from llmastool import seeds
from llmastool.planner import archive, posterior
from llmastool.planner.beliefs import Beliefs, believe
from llmastool.planner.config import PlannerConfig
from llmastool.planner.objective import front
from llmastool.planner.plan import Option, Plan, Record, Wishes
from llmastool.planner.report import Report, calibration
from llmastool.planner.round import Round
from llmastool.planner.rungs import carried
from llmastool.planner.table import Table
from llmastool.planner.threads import one_thread


class Planner:
    """Chooses parents and edits. It keeps no state: the same records, options and round give the same plans.

    But for the features of networks, which are worked out once: those of options until the next round is decided.
    """

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
        self._passing = set[str]()

    def prepare(self, known: int, *, rungs: bool) -> None:
        """Begin what is needed later whatever comes of what is evaluated now.

        Args:
            known: networks that will have been evaluated in the end; of too few, nothing is believed.
            rungs: as in `llmastool.planner.posterior.prepare`.
        """
        if known >= self.config.min_observations:
            posterior.prepare(self.config.posterior, rungs=rungs)

    def elites(self, records: Sequence[Record]) -> list[str]:
        """Return the ids of the trees worth editing: the front where it is asked for, then as `archive.elites` does.

        What was stopped on the way is ranked by what it would have come to.
        """
        objective, n = self.config.objective, self.config.elites
        edge = [r.tree for r in front(records, objective)] if objective.kind == "front" else []
        even = np.linspace(0, len(edge) - 1, min(n, len(edge))).round().astype(int)
        ranked = [edge[i] for i in even] + archive.elites(carried(records), n, objective.reward, self.config.top)
        return list(dict.fromkeys(ranked))[:n]

    def wishes(self, records: Sequence[Record], n: int, *, round: int) -> Wishes:
        """Return what is to be looked at: edits of the elites, and networks drawn anew."""
        del round
        if len(archive.usable(carried(records))) < max(self.config.start, 1):
            return Wishes(fresh=max(self.fresh, n))
        parents = tuple(self.elites(records))
        return Wishes(parents=parents, edits=self.edits, doubles=self.doubles, fresh=self.fresh)

    def plan(
        self, records: Sequence[Record], options: Sequence[Option], n: int, *, round: int
    ) -> tuple[list[Plan], Report]:
        """Choose `n` options of distinct keys, as `decide` does."""
        return self.decide(records, options, n, round=round)[:2]

    def decide(
        self,
        records: Sequence[Record],
        options: Sequence[Option],
        n: int,
        *,
        round: int,
        pending: Sequence[Option] = (),
    ) -> tuple[list[Plan], Report, Beliefs | None]:
        """Choose `n` options of distinct keys; all of them where there are fewer.

        Returns the plans, what is to be reported of them, and what they were decided by: None while there are too few
        observations, or where there was nothing to decide.

        Plans go to the highest worth (`config.acquisition` of `config.objective`) times probability of success, each
        pick after the beliefs that the picks before it imply; `config.quota` of all plans at most, counted over the
        rounds, to the families that had no fair trial yet. Before there are `config.min_observations`, every family
        gets its turn, farthest first.

        Args:
            records: all that was evaluated, in order.
            options: what could be done; of several with one key the first counts.
            n: how many plans, 0 or more.
            round: number of the round, which settles the seed and the quota's turn.
            pending: what was chosen before and is still evaluated; it counts as the first picks.

        Warns:
            PlannerWarning: the posterior did not converge.
        """
        rng = seeds.generator(self.seed, "planner", round)
        first = {option.key: option for option in reversed(options)}
        # A random order settles ties, so that neither the alphabet nor the caller does.
        keys = sorted(first)
        distinct = [first[keys[i]] for i in rng.permutation(len(keys))]
        # Of thousands of options few are ever evaluated.
        self._table.forget(self._passing.difference(record.tree for record in records))
        self._passing.clear()
        trees = self._table.add((r.tree, r.profile) for r in records if r.profile is not None)
        trees += self._look([*pending, *distinct])
        # Without what only earlier rounds saw, so that a search that is resumed goes on as it would have.
        table = self._table.only(trees)
        seed = int(rng.integers(2**31))
        beliefs = believe(records, table, seed=seed, config=self.config) if distinct and n > 0 else None
        known = beliefs.posterior if beliefs is not None else None
        with one_thread():
            choice = Round(self.config, records, distinct, n, table, known, rng, pending)
            plans = choice.plans(before=round * n)
        report = Report(
            round=round,
            options=len(distinct),
            observations=len(archive.usable(carried(records))),
            rules=dict(Counter(plan.reason for plan in plans)),
            families=dict(sorted(choice.families.items())),
            posterior=None if known is None else known.diagnostics.to_json(),
            calibration=calibration(records),
        )
        return plans, report, beliefs

    def worth(self, records: Sequence[Record], options: Sequence[Option], beliefs: Beliefs) -> list[float]:
        """Return what options are worth by what was believed when a round was decided, each by itself.

        Args:
            records: all that was evaluated, in order.
            options: what could be done, maybe other things than were decided about.
            beliefs: what `decide` returned for the same records.
        """
        trees = self._table.add((r.tree, r.profile) for r in records if r.profile is not None)
        trees += self._look(options)
        view = self._table.only(trees, after=beliefs.view)
        rng = seeds.generator(self.seed, "planner", "worth", len(records))
        with one_thread():
            return Round(self.config, records, options, 0, view, beliefs.posterior, rng).worth().tolist()

    def beliefs(self, records: Sequence[Record]) -> Beliefs | None:
        """Return what is believed after these records; None while there are too few observations."""
        view = self._table.only(self._table.add((r.tree, r.profile) for r in records if r.profile is not None))
        seed = int(seeds.generator(self.seed, "planner", "posterior").integers(2**31))
        return believe(records, view, seed=seed, config=self.config)

    def _look(self, options: Sequence[Option]) -> list[str]:
        """Take in the features of options, and return their trees."""
        self._passing |= {option.tree for option in options if option.tree not in self._table}
        return self._table.add((option.tree, option.profile) for option in options)
