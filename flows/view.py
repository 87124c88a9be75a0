"""MLflow kept up to date beside a run, which neither waits for it nor fails by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger
from prefect.futures import PrefectFuture

from llmastool.canonical import write_json
from llmastool.params import Params
from tasks.records import RunRecord, flatten, record
from tasks.tracking import Tracker, log_champion, track

if TYPE_CHECKING:
    from llmastool.archive import Entry
    from llmastool.candidate import Candidate
    from llmastool.outcome import Outcome
    from llmastool.trees.tree import Tree

PROBLEM = "mlflow_problem.json"
"""File in the run folder that says why MLflow lags behind; gone when it does not."""


class View:
    """Sends a run to MLflow, one sending at a time, each in a thread of the flow's own pool."""

    def __init__(self, params: Params, run: Path, registry: Path, mlflow: Path) -> None:
        """Make the view of a run folder.

        Args:
            params: all parameters.
            run: folder of the search; its name is the key, and a problem is recorded there.
            registry: folder of the registry.
            mlflow: folder of MLflow's database and artifacts.
        """
        from llmastool.registry.store import Registry

        self._sources = {module: entry.source for module, entry in Registry.open(registry).entries.items()}
        name = f"{params.data.name} {run.name[:8]}"
        self._tracker = Tracker(mlflow.resolve(), run.name, name, flatten(asdict(params)))
        self._run = run
        self._sending: PrefectFuture[Any] | None = None

    def send(self, records: Sequence[RunRecord], summary: Mapping[str, float], *, step: int, finished: bool) -> None:
        """Start sending what is known by now; what MLflow has already is left alone. See `tasks.tracking.track`."""
        self._submit(track.submit, self._tracker, records, summary, step=step, finished=finished)

    def send_champion(self, final: Path, data: Path, model: str) -> None:
        """Start sending the winner as a model."""
        self._submit(log_champion.submit, self._tracker, final, data, model)

    def _submit(self, submit: Callable[..., PrefectFuture[Any]], *args: object, **kwargs: object) -> None:
        # The sending before has to end first: two at a time would write runs twice.
        self.settle()
        self._sending = submit(*args, **kwargs)

    def settle(self) -> bool:
        """Wait for the last sending; return whether it went well. A problem is logged and recorded, not raised."""
        if self._sending is None:
            return True
        sending, self._sending = self._sending, None
        sending.wait()
        problem = self._run / PROBLEM
        if sending.state.is_completed():
            problem.unlink(missing_ok=True)
            return True
        message = str(sending.state.result(raise_on_failure=False))
        get_run_logger().warning("%s", message)
        write_json(problem, {"problem": message})
        return False

    def records(self, entries: Sequence[Entry], folder: Callable[[Candidate], Path]) -> list[RunRecord]:
        """Return the records of a search's candidates.

        Args:
            entries: all that were evaluated.
            folder: gives the folder of a candidate's training.
        """
        trees = {entry.candidate.id: entry.candidate.tree for entry in entries}
        found = []
        for entry in entries:
            candidate, trial = entry.candidate, folder(entry.candidate)
            found.append(
                record(
                    f"{self._tracker.key}/{trial.name}",
                    candidate,
                    entry.profile,
                    entry.outcome,
                    finished=_finished(trial),
                    parent=trees.get(candidate.parent or ""),
                    source=self._source(candidate.tree),
                )
            )
        return found

    def final_record(self, candidate: Candidate, seed: int, outcome: Outcome, trial: Path) -> RunRecord:
        """Return the record of one training of the final stage."""
        return record(
            f"{self._tracker.key}/{trial.name}",
            candidate,
            None,
            outcome,
            finished=_finished(trial),
            parent=None,
            source=self._source(candidate.tree),
            kind="final",
            seed=seed,
        )

    def _source(self, tree: Tree) -> str:
        found = {self._sources.get(node.module, "") for _, node in tree.walk()}
        return ", ".join(sorted(found - {""}))


def _finished(folder: Path) -> float:
    """Return when a training ended, in seconds since 1970; for a candidate that fell before it, the present."""
    return max((done.stat().st_mtime for done in folder.glob("outcome*.json")), default=time.time())
