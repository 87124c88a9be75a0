"""The flow of the search: ask, train what was asked for, tell, until it is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import flow, get_run_logger

from flows.changes import SearchChanges
from flows.pool import trainings
from flows.view import View
from llmastool.canonical import Json, read_json
from llmastool.outcome import Outcome
from llmastool.params import Params
from llmastool.runs import only_writer, run_folder
from tasks.artifacts import Board
from tasks.planning import ask, ask_ahead

if TYPE_CHECKING:
    from llmastool.archive import Entry
    from llmastool.search import Search

UNCHANGED = SearchChanges()


@flow(name="search")
def search(
    params_file: Path = Path("params.yaml"),
    changes: SearchChanges = UNCHANGED,
    data: Path = Path("artifacts/prepare"),
    registry: Path = Path("artifacts/registry"),
    out: Path = Path("artifacts/search"),
    runs: Path = Path("runs"),
    mlflow: Path = Path(".mlflow"),
) -> dict[str, Json]:
    """Search to the end, write the archive into `out`, and return its metrics.

    A search that was stopped goes on from its run folder and ends with the archive that it would have had.

    Args:
        params_file: all parameters.
        changes: what is other than the file says.
        data: folder of the prepared image set.
        registry: folder of the registry.
        out: folder of the archive.
        runs: folder of all run folders.
        mlflow: folder of MLflow's database and artifacts.
    """
    from llmastool.search import Search

    params = changes.applied(Params.load(params_file))
    run = run_folder(runs, params, data, registry)
    get_run_logger().info("the run is kept in %s", run)
    with (
        only_writer(out),
        only_writer(run),
        Search.open(params, registry, data, run) as state,
        View(params, run, registry, mlflow) as view,
    ):
        board = Board(run.name)
        progress = _Progress(board, state)

        def beside() -> None:
            state.prepare()
            _send(state, view)  # beside trainings, which seldom end together: planning has all processors
            if state.ahead is not None:
                ask_ahead(state)

        with trainings(params, progress.ended, beside) as train_all:
            while not state.done:
                progress.show("planning")
                asked = ask(state)
                progress.asked(len(asked))
                state.tell(train_all([(state.job(c), state.trial_folder(c)) for c in asked]))
                if not state.done:
                    _say(state, board)
        state.write(out)
        _send(state, view)
        _say(state, board)
        progress.show("done")
        view.settle()
    metrics: dict[str, Json] = read_json(out / "metrics.json")
    return metrics


class _Progress:
    """Moves the progress bar of Prefect's page."""

    def __init__(self, board: Board, state: Search) -> None:
        self._board, self._state = board, state
        self._waiting, self._done = 0, 0

    def asked(self, number: int) -> None:
        """Begin with so many trainings."""
        self._waiting, self._done = number, 0
        self.show(f"{number} trainings")

    def ended(self, outcome: Outcome) -> None:  # noqa: ARG002 - only that one ended matters here
        """Count a training that ended."""
        self._done += 1
        self.show(f"{self._done} of {self._waiting} trainings ended")

    def show(self, said: str) -> None:
        """Show the share of the rounds that are over, and what is under way."""
        rounds = self._state.params.search.rounds + 1
        inside = self._done / self._waiting if self._waiting else 0.0
        done = min(self._state.round, rounds)
        share = (done + (inside if done < rounds else 0.0)) / rounds
        self._board.progress(share, f"round {min(done, rounds - 1)} of {rounds - 1}: {said}")


def _say(state: Search, board: Board) -> None:
    """Say where the search stands, on the console and on Prefect's page."""
    entries = state.entries()
    trained = _accuracies(entries)
    best = f"best validation accuracy {max(trained):.2f}%" if trained else "none trained to the end yet"
    get_run_logger().info("%d candidates, %d trained, %s", len(entries), len(trained), best)
    board.tables(entries)


def _send(state: Search, view: View) -> None:
    """Have MLflow told where the search stands."""
    entries = state.entries()
    summary: dict[str, float] = {"candidates": len(entries), **Counter(f"gate.{e.outcome.gate}" for e in entries)}
    if trained := _accuracies(entries):
        summary["best_validation_accuracy"] = max(trained)
    settled = [entry for entry in entries if state.settled(entry.candidate)]
    view.send(view.records(settled, state.trial_folder), summary, step=len(entries), finished=state.done)


def _accuracies(entries: Sequence[Entry]) -> list[float]:
    """Return the validation accuracies of those that were trained to the end."""
    return [entry.accuracy for entry in entries if entry.accuracy is not None]
