"""Optuna's tree-structured Parzen estimator behind the strategies' ask and tell (Bergstra et al. 2011; Akiba 2019)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from benchmarks.nb201.runs import Problem
from benchmarks.nb201.space import EDGES, OPERATIONS
from llmastool.planner.plan import Option, Plan, Record, Wishes
from llmastool.planner.report import Report

NAME = "tpe"


class TPE:
    """Multivariate TPE with Optuna's defaults. It takes a product of categories, so it works on this space alone."""

    def __init__(self, problem: Problem, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._space, self._open = problem.space, problem.open
        self._told = 0

    def wishes(self, records: Sequence[Record], n: int, *, round: int) -> Wishes:
        """Wish for one network, for form's sake: it says itself which cell it wants."""
        del records, n, round
        return Wishes(fresh=1)

    def plan(
        self, records: Sequence[Record], options: Sequence[Option], n: int, *, round: int
    ) -> tuple[list[Plan], Report]:
        """Ask for cells; what was evaluated, or may not be, is told again or refused, until it asks for another."""
        import optuna

        for record in records[self._told :]:
            self._tell(record.tree, record.accuracy)
        self._told = len(records)
        picked: set[int] = set()
        known = {record.tree: record.accuracy for record in records}
        plans: list[Plan] = []
        while len(plans) < n:
            trial = self._study.ask()
            ops = tuple(trial.suggest_categorical(edge, list(OPERATIONS)) for edge in EDGES)
            position = self._space.index[ops]
            tree = self._space.trees[position]
            if self._open[position] and tree not in known and position not in picked:
                picked.add(position)
                plans.append(Plan.of(self._space.fresh(position), NAME))
                self._study.tell(trial, state=optuna.trial.TrialState.FAIL)  # told anew, once it was evaluated
            elif tree in known:
                self._study.tell(trial, known[tree])
            else:
                self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        report = Report(
            round=round, options=len(options), observations=len(records), rules={NAME: len(plans)}, families={},
            posterior=None, calibration=None,
        )  # fmt: skip
        return plans, report

    def _tell(self, tree: str, accuracy: float | None) -> None:
        import optuna

        ops = self._space.cells[self._space.at[tree]]
        params = dict(zip(EDGES, ops, strict=True))
        each = {edge: optuna.distributions.CategoricalDistribution(list(OPERATIONS)) for edge in EDGES}
        self._study.add_trial(optuna.trial.create_trial(params=params, distributions=each, value=accuracy))
