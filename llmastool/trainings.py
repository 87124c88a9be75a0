"""Several trainings at once on this machine, with no workflow engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llmastool.outcome import Outcome
from llmastool.training.job import Job, run
from llmastool.training.recipe import TrainingConfig


def train_all(
    jobs: Sequence[tuple[Job, Path]],
    config: TrainingConfig,
    *,
    begins: Callable[[int], None] = lambda _: None,
    ends: Callable[[int, Outcome], None] = lambda *_: None,
    meanwhile: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """Do jobs, `config.workers` of them at the same time, and return how they ended, in their order.

    Where one cannot be done at all, those under way are waited for and no other is begun. When the program is told to
    stop, nothing is waited for: with its end the kernel ends the trainings, which go on later from their checkpoints.

    Args:
        jobs: each with its folder.
        config: limits.
        begins: called with the number of a job when it begins, from a thread of its own.
        ends: called with the number and the outcome when it ends, from that thread.
        meanwhile: called once when the first of them train.

    Raises:
        TrainingUnavailable: training could not be done here; see `llmastool.training.job.run`.
    """

    def one(number: int) -> Outcome:
        begins(number)
        outcome = run(*jobs[number], config)
        ends(number, outcome)
        return outcome

    pool = ThreadPoolExecutor(config.workers, thread_name_prefix="training")
    futures = [pool.submit(one, number) for number in range(len(jobs))]
    try:
        meanwhile()
        return [future.result() for future in futures]
    except Exception:
        pool.shutdown(cancel_futures=True)
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
