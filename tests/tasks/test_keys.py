"""Mining is cached by content, and training is retried only where that can help."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from prefect.client.schemas.objects import TaskRun
from prefect.context import TaskRunContext
from prefect.states import State, exception_to_failed_state
from prefect.utilities.asyncutils import run_coro_as_sync

from llmastool.errors import DataError
from llmastool.mining.sources import SourceSpec
from llmastool.training.job import JobError
from llmastool.training.process import TrainingUnavailable
from tasks.mining import mining_key
from tasks.training import may_pass, train


def key(folder: Path, **fields: Any) -> str:
    spec = SourceSpec(kind="path", path=str(folder), name="source", **fields)
    return mining_key(cast(TaskRunContext, None), {"spec": spec})


def test_a_source_is_mined_again_when_its_content_or_the_question_changed(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text("from torch import nn\nclass A(nn.Module): ...\n")
    first = key(tmp_path)
    file.touch()
    assert key(tmp_path) == first
    assert key(tmp_path, include=("models/*",)) != first
    file.write_text("from torch import nn\nclass B(nn.Module): ...\n")
    assert key(tmp_path) != first


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
