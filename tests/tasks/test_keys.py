"""Training is retried only where that can help."""

from __future__ import annotations

from typing import Any, cast

import pytest
from prefect.client.schemas.objects import TaskRun
from prefect.states import State, exception_to_failed_state
from prefect.utilities.asyncutils import run_coro_as_sync

from llmastool.errors import DataError
from llmastool.training.job import JobError
from llmastool.training.process import TrainingUnavailable
from tasks.training import may_pass, train


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (TrainingUnavailable("the disk is full"), True),
        (OSError(28, "No space left on device"), True),
        (JobError("the folder holds another job"), False),
        (DataError("the data was not prepared"), False),
        (RuntimeError("a bug"), False),
    ],
)
def test_training_is_tried_again_only_where_that_may_help(error: Exception, again: bool) -> None:
    state: State[Any] = run_coro_as_sync(exception_to_failed_state(error))
    assert may_pass(train, cast(TaskRun, None), state) is again
