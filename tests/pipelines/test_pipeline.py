"""All stages on a small source and few images: killed, stopped, resumed, and the same in the end."""

from __future__ import annotations

import csv
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llmastool.canonical import read_lines
from tests.pipelines.test_stage import processes_of
from tests.pipelines.workspace import finish, lay_out, load, stop, trained, workers_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everything up to the registry is done. Its search plans ahead."""
    folder = tmp_path_factory.mktemp("workspace")
    lay_out(folder)
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("search: {", "search: {ahead: true, "))
    for name in ("prepare", "mine", "registry"):
        finish(folder, name)
    return folder


def test_a_search_that_is_killed_and_stopped_ends_as_one_that_was_not(workspace: Path) -> None:
    def training_after(n: int) -> Callable[[], bool]:
        return lambda: len(trained(workspace)) >= n and bool(workers_of(workspace))

    status, _ = stop(workspace, training_after(1), signal.SIGKILL)
    assert status == -signal.SIGKILL
    time.sleep(5)
    assert (workers_of(workspace), processes_of(workspace / ".prefect")) == ([], [])
    kept = {path: path.stat().st_mtime_ns for path in trained(workspace)}
    assert kept

    status, err = stop(workspace, training_after(4), signal.SIGINT)
    assert status == 130, err
    assert err.splitlines()[-1].startswith("search: stopped; what is done is kept.")
    time.sleep(5)
    assert (workers_of(workspace), processes_of(workspace / ".prefect")) == ([], [])

    finish(workspace, "search")
    archive = load(workspace / "artifacts/search/archive.json")
    assert len(archive["entries"]) == 2 + 2 * 3
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in trained(workspace)}.items()
    # Being stopped is nobody's failure.
    assert not [e for e in archive["entries"] if e["outcome"]["gate"] in ("crash", "memory", "timeout")]

    (run,) = (path.parent for path in workspace.glob("runs/*/run.json"))
    run.rename(workspace / "stopped")
    finish(workspace, "search")
    events = [e["event"] for log in workspace.glob("runs/*/events.jsonl") for e in read_lines(log)]
    assert events == ["asked", *["told"] * 2, "asked", "planned", *["told"] * 3, "asked", *["told"] * 3]
    again = load(workspace / "artifacts/search/archive.json")
    assert again["fingerprint"] == archive["fingerprint"]


def test_the_final_stage_and_the_report_follow(workspace: Path) -> None:
    finish(workspace, "final")
    finish(workspace, "report")
    final = load(workspace / "artifacts/final/final.json")
    assert [one["seed"] for one in final["finalists"][0]["test_accuracy"]["seeds"]] == [0, 1]
    rows = list(csv.DictReader((workspace / "artifacts/final/curves.csv").read_text().splitlines()))
    assert [(row["seed"], row["epoch"]) for row in rows] == [("0", "1"), ("0", "2"), ("1", "1"), ("1", "2")]
    assert (workspace / "artifacts/report/report.html").stat().st_size > 10_000


def test_mlflow_shows_what_the_archive_holds(workspace: Path) -> None:
    from mlflow import MlflowClient

    archive = load(workspace / "artifacts/search/archive.json")
    client = MlflowClient(f"sqlite:///{workspace}/.mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("llmastool")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'candidate'")
    assert sorted(run.data.tags["tree"] for run in runs) == sorted(e["candidate"]["id"] for e in archive["entries"])
    assert len(client.search_runs([experiment.experiment_id], "tags.kind = 'final'")) == 2
    assert client.get_model_version_by_alias("llmastool-digits", "champion").version is not None


def test_a_broken_mlflow_does_not_lose_the_search_and_is_mended(workspace: Path) -> None:
    database = workspace / ".mlflow" / "mlflow.db"
    database.unlink()
    database.mkdir()
    assert "could not be written" in finish(workspace, "search")
    (problem,) = workspace.glob("runs/*/mlflow_problem.json")
    database.rmdir()
    assert "could not be written" not in finish(workspace, "search")
    assert not problem.exists()
    assert database.is_file()
