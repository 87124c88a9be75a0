"""Where trainings and probes run: a pool of this machine's threads, or the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from prefect.exceptions import TerminationSignal
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from llmastool.outcome import Outcome
from tasks.registry import probe_away
from tasks.training import train, train_away

if TYPE_CHECKING:
    from llmastool.canonical import Json
    from llmastool.params import Params
    from llmastool.registry.pool import ProbeConfig, RunsJobs, Workload
    from llmastool.runner import RunnerConfig
    from llmastool.store import Store
    from llmastool.training.job import Job

TrainsAll: TypeAlias = "Callable[[Sequence[tuple[Job, Path]]], list[Outcome]]"
"""Does jobs, each with its folder, and returns how they ended, in their order."""


def _nothing(*_: object) -> None:
    pass


@contextmanager
def trainings(
    params: Params, ended: Callable[[Outcome], object] = _nothing, meanwhile: Callable[[], object] = _nothing
) -> Iterator[TrainsAll]:
    """Have what trains several candidates at once, where `runner` says.

    Args:
        params: all parameters.
        ended: called with each outcome, in the order of the jobs.
        meanwhile: called when the first of some jobs train.
    """
    with task_pool(params.runner, params.training.workers) as pool:

        def here(jobs: Sequence[tuple[Job, Path]]) -> list[Outcome]:
            started = [
                pool.submit(train, {"job": job, "folder": folder, "config": params.training}) for job, folder in jobs
            ]
            meanwhile()
            return [_heard(ended, future.result()) for future in started]

        if params.runner.kind == "threads":
            yield here
            return

        from llmastool.store import Store

        store = Store(params.runner.store)

        def elsewhere(jobs: Sequence[tuple[Job, Path]]) -> list[Outcome]:
            return [_heard(ended, outcome) for outcome in _elsewhere(pool, store, params, jobs, meanwhile)]

        yield elsewhere


@contextmanager
def probes(runner: RunnerConfig, slots: int) -> Iterator[RunsJobs | None]:
    """Have what runs probes on the workers of a cluster; None where there is none, so that they run on this machine.

    Args:
        runner: where.
        slots: probes that can run at once.
    """
    if runner.kind == "threads":
        yield None
        return
    with task_pool(runner, slots) as pool:

        def run(jobs: Sequence[Json], workload: Workload, config: ProbeConfig) -> Iterator[Json]:
            from llmastool.registry import away
            from llmastool.store import Store

            started = [
                pool.submit(probe_away, {"batch": batch, "cache": runner.cache})
                for batch in away.batches(jobs, workload, config, Store(runner.store), slots)
            ]
            for future in started:
                yield from future.result()

        yield run


def _elsewhere(
    pool: TaskRunner[Any],
    store: Store,
    params: Params,
    jobs: Sequence[tuple[Job, Path]],
    meanwhile: Callable[[], object],
) -> Iterator[Outcome]:
    """Have jobs done on a cluster, and yield how they ended when their folders are here."""
    from llmastool.training import away
    from llmastool.training.job import done

    started = {}
    for job, folder in jobs:
        if done(job, folder) is not None:
            away.forget(job, folder, store)  # killed between taking it back and saying so
        else:
            errand = away.send(job, folder, store)
            values = {"errand": errand, "config": params.training, "cache": params.runner.cache}
            started[folder] = errand, pool.submit(train_away, values)
    meanwhile()
    for job, folder in jobs:
        if folder in started:
            errand, future = started[folder]
            future.result()
            away.take_back(errand, job, folder)
        outcome = done(job, folder)
        assert outcome is not None, f"{folder}: a training that ended without an outcome"
        yield outcome


def _heard(ended: Callable[[Outcome], object], outcome: Outcome) -> Outcome:
    ended(outcome)
    return outcome


@contextmanager
def task_pool(runner: RunnerConfig, workers: int) -> Iterator[TaskRunner[Any]]:
    """Have a pool in which at most `workers` tasks run at the same time; a running cluster has its own number.

    When the run is told to stop, the pool is left as it is, not waited for: whoever started the flow ends the process,
    and the kernel ends the trainings with it. To kill only the trainings would record them as failed; waiting for them
    could take minutes.
    """
    pool = _task_runner(runner, workers)
    pool.__enter__()
    try:
        yield pool
    except (KeyboardInterrupt, TerminationSignal):
        raise
    except BaseException as error:
        pool.__exit__(type(error), error, error.__traceback__)
        raise
    pool.__exit__(None, None, None)


def _task_runner(runner: RunnerConfig, workers: int) -> TaskRunner[Any]:
    if runner.kind == "dask":
        from prefect_dask import DaskTaskRunner

        if runner.address is not None:
            return DaskTaskRunner(address=runner.address)
        # One task at a time in each process, so that one that dies takes no other with it. A training's memory is
        # limited by its sandbox; that of the worker around it need not be.
        return DaskTaskRunner(
            cluster_kwargs={
                "n_workers": workers,
                "threads_per_worker": 1,
                "memory_limit": 0,
                "dashboard_address": None,
                "silence_logs": "ERROR",
            }
        )
    if runner.kind == "ray":
        from prefect_ray import RayTaskRunner

        options = {"log_to_driver": False, "logging_level": "ERROR"}
        if runner.address is None:
            options |= {"num_cpus": workers, "include_dashboard": False}
        return RayTaskRunner(address=runner.address, init_kwargs=options)
    return ThreadPoolTaskRunner(max_workers=workers)
