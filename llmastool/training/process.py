"""The process of one job, seen from outside: started in the sandbox, watched, killed when its time is up, judged."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmastool import sandbox
from llmastool.canonical import Json, read_json
from llmastool.errors import LLMasToolError, SandboxError
from llmastool.outcome import GATES, Outcome
from llmastool.training.devices import lease
from llmastool.training.recipe import TrainingConfig

if TYPE_CHECKING:
    from llmastool.training.job import Job

RESULT, CHECKPOINT, WEIGHTS, LOG = "result.json", "checkpoint.pt", "weights.safetensors", "log.txt"

UNAVAILABLE = 75
"""Exit status of a worker that could not do its job for no fault of the network (EX_TEMPFAIL of sysexits.h)."""

MESSAGE_CHARACTERS = 500

_NO_MEMORY = re.compile(r"can(?:no|')t allocate memory|out of memory|bad_alloc|MemoryError", re.IGNORECASE)


class TrainingUnavailable(LLMasToolError):  # noqa: N818 - a state of this machine
    """Training cannot be done here, whatever the network is."""


def run(job: Job, folder: Path, config: TrainingConfig) -> Outcome:
    """Run the worker on a folder that was laid out, wait for its end or its time limit, and judge.

    Raises:
        TrainingUnavailable: the worker could not start its work or save it.
        SandboxError: the sandbox could not be set up.
    """
    result = folder / "work" / RESULT
    result.unlink(missing_ok=True)
    start = time.monotonic()
    with lease(job.device) as device, (folder / LOG).open("wb") as log:
        worker = subprocess.Popen(
            command(job, folder, config),
            env={**_environment(job), **device},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status: int | None = worker.wait(config.seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _kill_group(worker)
    found = _judge(status, job, result, folder / LOG, config)
    return Outcome(candidate=job.tree.id, seconds=round(time.monotonic() - start, 3), **found)


def out_of_memory(text: str) -> bool:
    """Return whether a message of Python, torch or the C library says that memory ran out."""
    return bool(_NO_MEMORY.search(text))


def command(job: Job, folder: Path, config: TrainingConfig) -> list[str]:
    """Return the command that does the job, sandbox included: it sees the folder, and can write to its `work` only."""
    readable = [folder]
    if job.registry is not None:
        registry = job.registry.resolve()
        readable.append(registry if registry.is_dir() else registry.parent)
    limits = [repr(config.memory_gb), repr(config.seconds)]
    return sandbox.command(
        [sys.executable, "-m", "llmastool.training.worker", str(folder), *limits],
        writable=[folder / "work"],
        readable=readable,
        hidden=[job.data],
        gpu=job.device != "cpu",
    )


def _environment(job: Job) -> dict[str, str]:
    threads = str(job.threads)
    # The workspace setting is what cuBLAS needs to compute alike every time.
    extra = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "POLARS_MAX_THREADS": "1"}
    return sandbox.environment({**extra, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"})


def _kill_group(worker: subprocess.Popen[bytes]) -> None:
    """End the worker and all that it started. Inside the sandbox, everything dies with the sandbox's own process."""
    if worker.poll() is None:
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def _judge(status: int | None, job: Job, result: Path, log: Path, config: TrainingConfig) -> dict[str, Json]:
    """Turn an exit status (None: time was up) and what lies in the folder into an outcome's fields."""
    if status is None:
        return {"gate": "timeout", "message": f"not done after {config.seconds:g} s"}
    if status == 0 and (written := _read_result(result, job)) is not None:
        return written
    last = _last_line(log)
    if status == UNAVAILABLE:
        raise TrainingUnavailable(f"training could not be done: {last}; see {log}")
    if last.startswith("bwrap: "):
        raise SandboxError(f"the sandbox could not be set up: {last}; see {log}")
    # A shell's convention, which bubblewrap keeps: 128 and the number of the signal.
    number = -status if status < 0 else status - 128
    if number == signal.SIGKILL:
        return {"gate": "memory", "message": "killed by the system, which does so when memory runs out"}
    if number == signal.SIGXCPU:
        return {"gate": "timeout", "message": "its CPU time was used up"}
    if out_of_memory(last):
        return {"gate": "memory", "message": last}
    return {"gate": "crash", "message": f"ended with status {status} and no result: {last or 'it printed nothing'}"}


def _read_result(path: Path, job: Job) -> dict[str, Json] | None:
    """Read the worker's result; None when there is none, or foreign code in the worker left something else there."""
    try:
        value = read_json(path)
        fields = {k: value[k] for k in ("gate", "message", "metrics", "curve")}
        numbers = [fields["metrics"], *fields["curve"]]
        finite = all(isinstance(v, int | float) and math.isfinite(v) for entry in numbers for v in entry.values())
        whole = finite and _fits(fields["gate"], fields["metrics"], fields["curve"], job)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if fields["gate"] not in GATES or not whole:
        return None
    return {**fields, "message": str(fields["message"])[:MESSAGE_CHARACTERS], "curve": tuple(fields["curve"])}


def _fits(gate: str, metrics: Mapping[str, float], curve: Sequence[Mapping[str, float]], job: Job) -> bool:
    """Return whether a result holds what is read of it later: all epochs, and the accuracies that were asked for."""
    if gate not in ("ok", "stopped"):
        return True
    each = {"validation_accuracy"} if job.train_on == "train" else set()
    wanted = each | ({"test_accuracy"} if job.evaluate_on == "test" else set())
    return (
        len(curve) == job.last
        and (gate == "ok") == (job.last == job.recipe.epochs)
        and wanted <= metrics.keys()
        and all(each <= entry.keys() for entry in curve)
    )


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")[:MESSAGE_CHARACTERS]
