"""The flow of the final stage: the best networks trained again over several seeds, and tested."""

from __future__ import annotations

import re
from pathlib import Path

from prefect import flow, get_run_logger

from flows.changes import FinalChanges
from flows.pool import trainings
from flows.view import View
from llmastool.canonical import Json
from llmastool.params import Params
from llmastool.runs import only_writer, run_folder
from tasks.final import choose, write_final

UNCHANGED = FinalChanges()


@flow(name="final")
def final(
    params_file: Path = Path("params.yaml"),
    changes: FinalChanges = UNCHANGED,
    data: Path = Path("artifacts/prepare"),
    registry: Path = Path("artifacts/registry"),
    archive: Path = Path("artifacts/search/archive.json"),
    out: Path = Path("artifacts/final"),
    runs: Path = Path("runs"),
    mlflow: Path = Path(".mlflow"),
) -> dict[str, Json]:
    """Train the best again, test them, write the winner into `out`, and return the metrics.

    Args:
        params_file: all parameters.
        changes: what is other than the file says.
        data: folder of the prepared image set; its test split is read here and nowhere else.
        registry: folder of the registry.
        archive: the search's archive.
        out: folder to write to.
        runs: folder of all run folders.
        mlflow: folder of MLflow's database and artifacts.
    """
    from llmastool.final import by_network, final_trainings, summary

    params = changes.applied(Params.load(params_file))
    run = run_folder(runs, params, data, registry)
    with only_writer(out), only_writer(run), View(params, run, registry, mlflow) as view:
        best = choose(archive, params.final)
        wanted = final_trainings(best, params, registry, data, run)
        view.load()
        with trainings(params, meanwhile=_import_torch) as train_all:
            outcomes = train_all([(one.job, one.folder) for one in wanted])
        done = [(one.candidate, one.seed, o, one.folder) for one, o in zip(wanted, outcomes, strict=True)]
        metrics = write_final(out, archive, by_network(best, wanted, outcomes), registry, data)
        get_run_logger().info("%s", summary(metrics))
        numbers = {f"final.{k}": float(v) for k, v in metrics.items() if isinstance(v, int | float)}
        view.send([view.final_record(*one) for one in done], numbers, step=0, finished=True)
        if metrics["seeds"]:
            view.send_champion(out, data, _model_name(params.data.name))
        view.settle()
    return metrics


def _import_torch() -> None:
    """Import what networks are exported with, beside the trainings: it takes seconds."""
    import torch  # noqa: F401


def _model_name(data: str) -> str:
    """Return the name of the winner in MLflow's registry of models, which takes no slash and no colon."""
    return "llmastool-" + re.sub(r"[^A-Za-z0-9._-]+", "-", data)
