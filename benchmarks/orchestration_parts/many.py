"""One search of 500 candidates: how its process grows, and how long the pages about it take to open.

And a short one, twice: what planning costs between rounds, and beside their trainings.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from benchmarks.orchestration_parts.watch import Sizes, growth, watched
from llmastool.canonical import Json
from tests.browser.chromium import CHROMIUM
from tests.browser.devtools import browser
from tests.pipelines.workspace import finish, lay_out, load, started
from tests.tasks.server import serving

PER_ROUND, WARM_SECONDS = 8, 120.0
"""Candidates in a round; how long the process may grow until everything was used once, in seconds."""

REPEATS = 5


def candidates(folder: Path, number: int) -> Json:
    """Search until there are so many candidates, and return what was measured."""
    found, sizes = _searched(folder, -(-(number - 2) // PER_ROUND))
    for name in ("final", "report"):
        finish(folder, name)
    return {
        **found,
        "main_rss_growth_bytes": growth(sizes, WARM_SECONDS),
        "main_rss_bytes": [size for _, size in sizes[:: max(1, len(sizes) // 30)]],
        **_pages(folder),
    }


def ahead(folder: Path, rounds: int) -> Json:
    """Return what a search takes that plans between its rounds, and one that plans beside their trainings."""
    changes = {"between": "", "beside": ", ahead: true"}
    return {name: _searched(folder / name, rounds, change)[0] for name, change in changes.items()}


def _searched(folder: Path, rounds: int, change: str = "") -> tuple[Json, Sizes]:
    """Search, and return what was measured and the sizes of the process; `change` is of the search's parameters."""
    shutil.rmtree(folder, ignore_errors=True)
    lay_out(folder)
    text = (folder / "params.yaml").read_text()
    size = f"rounds: {rounds}, per_round: {PER_ROUND}, pool: 48{change}"
    text = text.replace("rounds: 2, per_round: 3, pool: 12", size)
    text = text.replace("recipe: {epochs: 2}", "recipe: {epochs: 1}")
    (folder / "params.yaml").write_text(text)
    for name in ("prepare", "mine", "registry"):
        finish(folder, name)
    start = time.monotonic()
    with started(folder, "search") as stage, watched((stage.pid,)) as seen:
        _, err = stage.communicate(timeout=6 * 3600)
    if stage.returncode != 0:
        raise RuntimeError(err[-4000:])
    seconds = time.monotonic() - start
    found = {
        "candidates": len(load(folder / "artifacts/search/archive.json")["entries"]),
        "rounds": rounds,
        "seconds": seconds,
        "seconds_neither_training_nor_probing": seen.seconds.get("neither", 0.0),
    }
    return found, seen.resident[stage.pid]


def _pages(folder: Path) -> Json:
    """Return the seconds in which Chromium shows the pages, the worst of several times each, in a fresh profile."""
    if CHROMIUM is None:
        return {"pages": "no Chromium here"}
    report = folder / "artifacts" / "report" / "report.html"
    rows = "document.getElementById('table').tBodies[0].rows.length"
    return {
        "report_bytes": report.stat().st_size,
        "report_page_seconds": _opened(folder, report.as_uri(), rows),
        "mlflow_page_seconds": _runs_opened(folder, folder / ".mlflow" / "mlflow.db"),
    }


def plain(folder: Path) -> Json:
    """Return what MLflow's page takes for 30 runs of one metric each: what it takes by itself."""
    if CHROMIUM is None:
        return {"pages": "no Chromium here"}
    from mlflow import MlflowClient

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.create_experiment("plain")
    for number in range(30):
        run = client.create_run(experiment).info.run_id
        client.log_metric(run, "validation_accuracy", number)
        client.set_terminated(run)
    return {"runs": 30, "mlflow_page_seconds": _runs_opened(folder, folder / "mlflow.db")}


def _runs_opened(folder: Path, database: Path) -> Json:
    """Open the runs as they are listed one below the other: by default those of a search are folded into one."""
    with serving(f"sqlite:///{database.resolve()}", folder) as url:
        runs = f"{url}/#/experiments/1/runs?orderByKey=metrics.%60validation_accuracy%60&orderByAsc=false"
        return _opened(folder, runs, "document.querySelectorAll('[role=row], .ag-row, tr').length > 20")


def _opened(folder: Path, url: str, condition: str) -> Json:
    times = []
    for _ in range(REPEATS):
        profile = folder / "profile"
        shutil.rmtree(profile, ignore_errors=True)
        with browser(profile) as tab:
            times.append(tab.open(url, condition))
    return {"most": max(times), "each": times}
