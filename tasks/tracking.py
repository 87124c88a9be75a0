"""The tasks that bring MLflow up to date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.records import RunRecord
from tasks.tracker import Tracker

# Retried, as another process may hold the database's lock. Not cached: a tracker looks up what is there.
_MLFLOW: dict[str, Any] = {"tags": ["mlflow"], "cache_policy": NO_CACHE, "retries": 2, "retry_delay_seconds": [1, 5]}


@task(name="track", task_run_name="track-{step}-candidates", **_MLFLOW)
def track(
    tracker: Tracker, records: Sequence[RunRecord], summary: Mapping[str, float], *, step: int, finished: bool
) -> int:
    """Bring MLflow up to date; return how many runs were new. See `Tracker.write` and `Tracker.summarise`.

    Raises:
        TrackingError: MLflow could not be written.
    """
    written = tracker.write(records)
    tracker.summarise(summary, step=step, finished=finished)
    return written


@task(name="load-mlflow", **_MLFLOW)
def load(tracker: Tracker) -> None:
    """Do ahead what `log_champion` takes longest for; see `Tracker.load`."""
    tracker.load()


@task(name="log-champion", **_MLFLOW)
def log_champion(tracker: Tracker, final: Path, data: Path, model: str) -> str:
    """Log and register the winner as a model; return its version. See `Tracker.log_champion`."""
    return tracker.log_champion(final, data, model)
