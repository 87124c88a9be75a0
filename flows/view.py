"""MLflow kept up to date beside a run, which neither waits for it nor fails by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from prefect import get_run_logger
from prefect.futures import PrefectFuture

from llmastool.canonical import write_json
from llmastool.params import Params
from tasks.records import RunRecord, flatten, record
from tasks.tracker import Tracker, TrackingError
from tasks.tracking import load, log_champion, track

if TYPE_CHECKING:
    from llmastool.archive import Entry
    from llmastool.candidate import Candidate
    from llmastool.outcome import Outcome
    from llmastool.trees.tree import Tree

PROBLEM = "mlflow_problem.json"
"""File in the run folder that says why MLflow lags behind; gone when it does not."""


PATIENCE = 600
"""Seconds after which a run that ends no longer waits for MLflow."""


class View:
    """Sends a run to MLflow, one sending at a time, each in a thread of the flow's own pool.

    As a context it also has MLflow watch the machine, from the first sending that went well.
    """

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
        self._on_their_way, self._sent = set[str](), set[str]()
        self._watch = ExitStack()
        self._watching = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.close()

    def load(self) -> None:
        """Start loading what the winner is sent with, which takes seconds, in the thread that sends it later."""
        self._submit(load.submit, self._tracker)

    def send(self, records: Sequence[RunRecord], summary: Mapping[str, float], *, step: int, finished: bool) -> None:
        """Start sending what is known by now; what MLflow has already is left alone. See `tasks.tracking.track`.

        While the sending before is under way, nothing is sent but what is `finished`: the next one carries it.
        """
        if not finished and self._sending is not None and not self._sending.state.is_final():
            return
        if self._submit(track.submit, self._tracker, records, summary, step=step, finished=finished):
            self._on_their_way = {record.trial_key for record in records}

    def send_champion(self, final: Path, data: Path, model: str) -> None:
        """Start sending the winner as a model."""
        self._submit(log_champion.submit, self._tracker, final, data, model)

    def _submit(self, submit: Callable[..., PrefectFuture[Any]], *args: object, **kwargs: object) -> bool:
        # The sending before has to end first: two at a time would write runs twice.
        self.settle()
        if self._sending is not None:
            return False
        self._sending = submit(*args, **kwargs)
        return True

    def settle(self) -> bool:
        """Wait for the last sending; return whether it went well. A problem is logged and recorded, not raised."""
        if self._sending is None:
            return True
        sending = self._sending
        sending.wait(PATIENCE)
        if not sending.state.is_final():
            return self._problem(f"MLflow did not take what it was sent within {PATIENCE} s")
        self._sending = None
        if not sending.state.is_completed():
            return self._problem(str(sending.state.result(raise_on_failure=False)))
        self._sent |= self._on_their_way
        if not self._watching:
            self._watching = True
            try:
                self._watch.enter_context(self._tracker.watching())
            except TrackingError as error:
                return self._problem(str(error))
        (self._run / PROBLEM).unlink(missing_ok=True)
        return True

    def _problem(self, message: str) -> bool:
        get_run_logger().warning("%s", message)
        write_json(self._run / PROBLEM, {"problem": message})
        return False

    def records(self, entries: Sequence[Entry], folder: Callable[[Candidate], Path]) -> list[RunRecord]:
        """Return the records of those of a search's candidates that were not sent yet.

        Args:
            entries: all that were evaluated.
            folder: gives the folder of a candidate's training.
        """
        known = {entry.candidate.id: entry.candidate for entry in entries}
        found = []
        for entry in entries:
            candidate, trial = entry.candidate, folder(entry.candidate)
            if self._key(trial) in self._sent:
                continue
            parent = known.get(candidate.parent or "")
            found.append(
                record(
                    self._key(trial),
                    candidate,
                    entry.profile,
                    entry.outcome,
                    finished=_finished(trial),
                    parent=parent.tree if parent is not None else None,
                    source=self._source(candidate.tree),
                    parent_key=self._key(folder(parent)) if parent is not None else None,
                )
            )
        return found

    def final_record(self, candidate: Candidate, seed: int, outcome: Outcome, trial: Path) -> RunRecord:
        """Return the record of one training of the final stage."""
        return record(
            self._key(trial),
            candidate,
            None,
            outcome,
            finished=_finished(trial),
            parent=None,
            source=self._source(candidate.tree),
            kind="final",
            seed=seed,
        )

    def _key(self, trial: Path) -> str:
        return f"{self._tracker.key}/{trial.name}"

    def _source(self, tree: Tree) -> str:
        found = {self._sources.get(node.module, "") for _, node in tree.walk()}
        return ", ".join(sorted(found - {""}))


def _finished(folder: Path) -> float:
    """Return when a training ended, in seconds since 1970; for a candidate that fell before it, the present."""
    return max((done.stat().st_mtime for done in folder.glob("outcome*.json")), default=time.time())
