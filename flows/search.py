"""The flow of the search: ask, train what was asked for, tell, until it is done."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import flow, get_run_logger

from flows.pool import training_pool
from flows.view import View
from llmastool.canonical import Json, read_json
from llmastool.params import Params
from llmastool.runs import only_writer, run_folder
from tasks.planning import ask
from tasks.training import train

if TYPE_CHECKING:
    from llmastool.search import Search


@flow(name="search")
def search(
    params_file: Path = Path("params.yaml"),
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
        data: folder of the prepared image set.
        registry: folder of the registry.
        out: folder of the archive.
        runs: folder of all run folders.
        mlflow: folder of MLflow's database and artifacts.
    """
    from llmastool.search import Search

    params = Params.load(params_file)
    run = run_folder(runs, params, data, registry)
    get_run_logger().info("the run is kept in %s", run)
    with only_writer(out), only_writer(run), Search.open(params, registry, data, run) as state:
        view = View(params, run, registry, mlflow)
        with training_pool(params.training.workers) as pool:
            while not state.done:
                trials = [
                    {"job": state.job(c), "folder": state.trial_folder(c), "config": params.training}
                    for c in ask(state)
                ]
                trainings = [pool.submit(train, trial) for trial in trials]
                state.tell([training.result() for training in trainings])
                _report(state, view)
        state.write(out)
        _report(state, view)
        view.settle()
    metrics: dict[str, Json] = read_json(out / "metrics.json")
    return metrics


def _report(state: Search, view: View) -> None:
    """Say where the search stands, on the console and to MLflow."""
    entries = state.entries()
    trained = [entry.accuracy for entry in entries if entry.accuracy is not None]
    best = f"best validation accuracy {max(trained):.2f}%" if trained else "none trained to the end yet"
    get_run_logger().info("%d candidates, %d trained, %s", len(entries), len(trained), best)
    summary: dict[str, float] = {"candidates": len(entries), **Counter(f"gate.{e.outcome.gate}" for e in entries)}
    if trained:
        summary["best_validation_accuracy"] = max(trained)
    settled = [entry for entry in entries if state.settled(entry.candidate)]
    view.send(view.records(settled, state.trial_folder), summary, step=len(entries), finished=state.done)
