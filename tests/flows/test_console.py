"""The console shows what a run says, and leaves the machinery's reports to Prefect's page."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import prefect.flow_engine
import pytest

from flows.console import is_chatter
from llmastool.errors import ConfigError, LLMasToolError

ENGINE = prefect.flow_engine.__file__


def entry(path: str, level: int, message: str, error: Exception | None = None) -> logging.LogRecord:
    info = None
    if error is not None:
        try:
            raise error
        except type(error):
            info = sys.exc_info()
    return logging.LogRecord("prefect.flow_runs", level, path, 1, message, (), info)


@pytest.mark.parametrize(
    "shown",
    [
        entry(__file__, logging.INFO, "28 candidates"),
        entry(ENGINE, logging.WARNING, "something is odd"),
        entry(ENGINE, logging.ERROR, "Encountered exception", RuntimeError("a bug: its traceback is wanted")),
        entry(str(Path("elsewhere") / "flow_engine.py"), logging.INFO, "not Prefect's"),
    ],
)
def test_words_of_the_run_and_surprises_are_shown(shown: logging.LogRecord) -> None:
    assert not is_chatter(shown)


@pytest.mark.parametrize(
    "hidden",
    [
        entry(ENGINE, logging.INFO, "Beginning flow run"),
        entry(ENGINE, logging.ERROR, "Finished in state Failed('...')"),
        entry(ENGINE, logging.ERROR, "Encountered exception", ConfigError("seed: expected 0 or more, got -1")),
        entry(ENGINE, logging.ERROR, "Encountered exception", OSError(28, "No space left on device")),
    ],
)
def test_chatter_and_tracebacks_of_the_users_errors_are_not(hidden: logging.LogRecord) -> None:
    assert is_chatter(hidden)


def test_an_error_of_the_users_is_one_of_ours() -> None:
    assert issubclass(ConfigError, LLMasToolError)
