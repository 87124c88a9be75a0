"""The tasks that train one candidate, on this machine or on a worker of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import State, Task, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun

if TYPE_CHECKING:
    from llmastool.outcome import Outcome
    from llmastool.training.away import Errand
    from llmastool.training.job import Job
    from llmastool.training.recipe import TrainingConfig


def may_pass(task: Task, run: TaskRun, state: State) -> bool:  # noqa: ARG001 - Prefect passes these by position
    """Return whether a failure says nothing about the candidate and may be gone on the next try."""
    from llmastool.training.process import TrainingUnavailable

    error = state.result(raise_on_failure=False)
    return isinstance(error, TrainingUnavailable | OSError)


# Not cached here: `job.run` returns what a folder holds already, also after a kill. No `timeout_seconds`: a thread that
# waits cannot be interrupted, so the time limit is the process's own (`TrainingConfig.seconds`). The tag `training` is
# where a server can limit how many candidates train at the same time on all machines together.
_TRAINING: dict[str, Any] = {
    "tags": ["training"],
    "cache_policy": NO_CACHE,
    "retries": 2,
    "retry_delay_seconds": [5, 30],
    "retry_condition_fn": may_pass,
}


@task(name="train", task_run_name="train-{folder.name}", **_TRAINING)
def train(job: Job, folder: Path, config: TrainingConfig) -> Outcome:
    """Train one candidate in a sandboxed process and return what came of it; see `llmastool.training.job.run`.

    Args:
        job: what to train.
        folder: the job's own folder; its name is the task's on Prefect's page.
        config: its limits.
    """
    from llmastool.training.job import run

    return _told(run(job, folder, config))


@task(name="train-away", task_run_name="train-{errand.name}", **_TRAINING)
def train_away(errand: Errand, config: TrainingConfig, cache: str | None) -> Outcome:
    """Train one candidate on the machine on which this task runs; see `llmastool.training.away.do`.

    Args:
        errand: what to train.
        config: its limits.
        cache: as in `llmastool.runner.RunnerConfig`.
    """
    from llmastool.runner import cache_folder
    from llmastool.training.away import do

    return _told(do(errand, config, cache_folder(cache)))


def _told(outcome: Outcome) -> Outcome:
    """Say in the task's log what came of a training."""
    numbers = {k: v for k, v in outcome.metrics.items() if k.endswith("_accuracy")}
    result = ", ".join(f"{k.replace('_', ' ')} {v:.2f}%" for k, v in numbers.items() if not k.startswith("train"))
    get_run_logger().info(
        "%s (%.0f s)", result if outcome.ok else f"{outcome.gate}: {outcome.message}", outcome.seconds
    )
    return outcome
