"""All stages on a small source and few images: killed, stopped, resumed, and the same in the end."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.test_stage import processes_of

ROOT = Path(__file__).resolve().parent.parent.parent

PARAMS = """
seed: 3
data: {name: digits, path: data/digits, limit: 400}
mining: {sources: [{kind: path, name: blocks, path: source}]}
registry: {workers: 2}
start: {skeletons: [{channels: 4, cells: 1, stages: 2}, {channels: 8, cells: 1, stages: 2}]}
budget: {parameters: 200000}
search: {rounds: 2, per_round: 3, pool: 12, doubles: 3, fresh: 2}
planner: {elites: 2}
filler: {kind: rules}
training: {workers: 2, recipe: {epochs: 2}}
final: {top: 1, seeds: [0, 1]}
"""

SOURCE = """
import torch
from torch import nn


class Gate(nn.Module):
    \"\"\"Weigh channels by their mean.\"\"\"

    def __init__(self, channels: int, ratio: int = 2) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, channels // ratio, 1), nn.Conv2d(channels // ratio, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.up(self.down(x.mean((2, 3), keepdim=True)).relu()))
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everything up to the registry is done."""
    folder = tmp_path_factory.mktemp("workspace")
    shutil.copytree(ROOT / "assets" / "digits", folder / "data" / "digits")
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "source" / "blocks").mkdir(parents=True)
    (folder / "source" / "blocks" / "__init__.py").write_text(SOURCE)
    for name in ("prepare", "mine", "registry"):
        with started(folder, name) as stage:
            _, err = stage.communicate(timeout=900)
        assert stage.returncode == 0, err
    return folder


def started(folder: Path, name: str) -> subprocess.Popen[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "DVC_", "OPENAI_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.stage", name],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(folder: Path, name: str) -> str:
    with started(folder, name) as stage:
        _, err = stage.communicate(timeout=900)
    assert stage.returncode == 0, err
    return err


def stop(folder: Path, when: Callable[[], bool], number: signal.Signals) -> tuple[int, str]:
    """Start the search, send it a signal once `when` holds, and return its status and what it said."""
    with started(folder, "search") as stage:
        try:
            deadline = time.monotonic() + 600
            while not when():
                assert stage.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            stage.send_signal(number)
            _, err = stage.communicate(timeout=60)
        finally:
            stage.kill()
    return stage.returncode, err


def trained(folder: Path) -> list[Path]:
    return list(folder.glob("runs/*/trials/*/outcome.json"))


def workers_of(folder: Path) -> list[int]:
    """Return the processes that train in this workspace."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"llmastool.training.worker" in command and str(folder).encode() in command:
            found.append(int(process.name))
    return found


def load(path: Path) -> Any:
    return json.loads(path.read_text())


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
