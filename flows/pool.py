"""A pool of threads for training that can be left in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.exceptions import TerminationSignal
from prefect.task_runners import ThreadPoolTaskRunner


@contextmanager
def training_pool(workers: int) -> Iterator[ThreadPoolTaskRunner[Any]]:
    """Have a pool in which at most `workers` candidates train at the same time.

    When the run is told to stop, the pool is left as it is, not waited for: whoever started the flow ends the process,
    and the kernel ends the trainings with it. To kill only the trainings would record them as failed; waiting for them
    could take minutes.
    """
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=workers)
    runner.__enter__()
    try:
        yield runner
    except (KeyboardInterrupt, TerminationSignal):
        raise
    except BaseException as error:
        runner.__exit__(type(error), error, error.__traceback__)
        raise
    runner.__exit__(None, None, None)
