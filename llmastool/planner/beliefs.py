"""What is believed of networks after some were evaluated: one posterior, and the questions that are put to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmastool.planner import archive
from llmastool.planner.config import PlannerConfig
from llmastool.planner.explain import paid
from llmastool.planner.plan import Record
from llmastool.planner.posterior import Posterior, fit
from llmastool.planner.report import Effect
from llmastool.planner.rungs import carried, told
from llmastool.planner.table import View
from llmastool.planner.threads import one_thread


@dataclass(frozen=True)
class Beliefs:
    """A posterior, and what it was fitted to."""

    posterior: Posterior
    records: Sequence[Record]
    """All that was evaluated."""
    view: View
    """The features of all these networks, and maybe of others."""

    def estimates(self) -> dict[str, float]:
        """Return what each network is believed to reach on average over trainings, in percent, by id.

        It lies between the mean of its `n` accuracies, which luck is part of, and what the model says, which its
        features do not tell all of. Which of the two keeps them apart is not known; they are taken for equal, and so
        the mean has the weight `n / (n + 1)`.
        """
        came: dict[str, list[float]] = {}
        for record in archive.usable(self.records):
            if record.accuracy is not None:
                came.setdefault(record.tree, []).append(record.accuracy)
        with one_thread():
            believed = self.posterior.accuracy(self.view.values(list(came)))[0].tolist()
        return {
            tree: (sum(values) + model) / (len(values) + 1)
            for (tree, values), model in zip(came.items(), believed, strict=True)
        }

    def paid(self) -> dict[str, list[Effect]]:
        """Return what families, modules and motifs are worth, the best first, by group; see `explain.paid`."""
        with one_thread():
            return paid(self.posterior, self.view)


def believe(records: Sequence[Record], view: View, *, seed: int, config: PlannerConfig) -> Beliefs | None:
    """Return what is believed after some records; None while there are fewer than `config.min_observations`.

    Trainings that were stopped count as soon as they can be carried over to the end.

    Args:
        records: all that was evaluated.
        view: the features of all these networks.
        seed: the same seed gives the same beliefs.
        config: how the posterior is computed.

    Warns:
        PlannerWarning: the posterior did not converge.
    """
    if len(archive.usable(carried(records))) < config.min_observations:
        return None
    # Accuracies that are no use go in as well: the fit leaves them out, and its diagnostics say so.
    found = told(records)
    with one_thread():
        values = view.values(found.trees)
        posterior = fit(values, found.accuracies, rungs=found.rungs, seed=seed, config=config.posterior)
        return Beliefs(posterior, records, view)
