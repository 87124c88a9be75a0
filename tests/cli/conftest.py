"""The program, run as a user runs it, and within the test's process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmastool.cli.app import main

Run = Callable[..., tuple[int, str, str]]


def program(*argv: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own."""
    command = [sys.executable, "-m", "llmastool.cli", *argv]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the program here; give its status and what it said on stdout and stderr."""

    def call(*argv: str) -> tuple[int, str, str]:
        status = main(argv)
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def parsed(run: Run, *argv: str) -> Any:
    """Return what the program prints as JSON."""
    status, out, err = run(*argv, "--json")
    assert (status, err) == (0, "")
    return json.loads(out)
