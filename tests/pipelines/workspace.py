"""A folder in which the whole pipeline runs on a small source and few images, its stages started, killed and awaited."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmastool.canonical import read_lines

ROOT = Path(__file__).resolve().parent.parent.parent

PARAMS = """
seed: 3
data: {name: digits, path: data/digits, limit: 400}
mining: {sources: [{kind: path, name: blocks, path: source}]}
registry: {workers: 2}
start: {skeletons: [{channels: 4, cells: 1, stages: 2}, {channels: 8, cells: 1, stages: 2}]}
budget: {parameters: 200000}
search: {rounds: 2, per_round: 3, pool: 12, doubles: 3, fresh: 2}
planner: {elites: 2}
filler: {kind: rules}
training: {workers: 2, recipe: {epochs: 2}}
final: {top: 1, seeds: [0, 1]}
"""

SOURCE = """
import torch
from torch import nn


class Gate(nn.Module):
    \"\"\"Weigh channels by their mean.\"\"\"

    def __init__(self, channels: int, ratio: int = 2) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, channels // ratio, 1), nn.Conv2d(channels // ratio, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.up(self.down(x.mean((2, 3), keepdim=True)).relu()))
"""


def lay_out(folder: Path, more: str = "") -> None:
    """Write sources, images and parameters into a folder; `more` is added to the parameters."""
    shutil.copytree(ROOT / "assets" / "digits", folder / "data" / "digits")
    (folder / "params.yaml").write_text(PARAMS + more)
    (folder / "source" / "blocks").mkdir(parents=True)
    (folder / "source" / "blocks" / "__init__.py").write_text(SOURCE)


def environment() -> dict[str, str]:
    """Return what a command of the pipeline is started with: nothing of this one's servers and keys."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "DVC_", "OPENAI_"))}
    return {**inherited, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def started(folder: Path, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.stage", name],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(folder: Path, name: str) -> str:
    with started(folder, name) as stage:
        _, err = stage.communicate(timeout=900)
    assert stage.returncode == 0, err
    return err


def stop(folder: Path, when: Callable[[], bool], number: signal.Signals) -> tuple[int, str]:
    """Start the search, send it a signal once `when` holds, and return its status and what it said."""
    with started(folder, "search") as stage:
        try:
            deadline = time.monotonic() + 600
            while not when():
                assert stage.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            stage.send_signal(number)
            _, err = stage.communicate(timeout=60)
        finally:
            stage.kill()
    return stage.returncode, err


def trained(folder: Path) -> list[Path]:
    return list(folder.glob("runs/*/trials/*/outcome.json"))


def workers_of(folder: Path) -> list[int]:
    """Return the processes that train in this workspace."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"llmastool.training.worker" in command and str(folder).encode() in command:
            found.append(int(process.name))
    return found


def load(path: Path) -> Any:
    return json.loads(path.read_text())


MARKS = {"dask": b"spawn_main", "ray": b"ray::"}
"""What the command line of a cluster's worker holds."""


def lose_a_worker(folder: Path, kind: str, cache: Path) -> None:
    """Run the search on a cluster, and kill a worker while a candidate trains on it.

    Args:
        folder: of the whole pipeline, up to the registry.
        kind: of the cluster, as `runner.kind` has it.
        cache: folder that the cluster's workers work in.
    """
    with started(folder, "search") as stage:
        deadline = time.monotonic() + 600
        while not (busy := workers_of(cache)):
            assert stage.poll() is None and time.monotonic() < deadline, "nothing trained on the cluster"
            time.sleep(0.05)
        worker = around(busy[0], MARKS[kind])
        assert worker != stage.pid
        os.kill(worker, signal.SIGKILL)
        _, err = stage.communicate(timeout=1800)
    assert stage.returncode == 0, err


def around(process: int, mark: bytes) -> int:
    """Return the nearest process around one whose command line holds a mark."""
    while process > 1:
        status = Path(f"/proc/{process}/status").read_text()
        process = int(status.partition("PPid:")[2].split()[0])
        if mark in Path(f"/proc/{process}/cmdline").read_bytes():
            return process
    raise AssertionError("no worker of the cluster around the training")


def told(folder: Path) -> Counter[str]:
    """Return how often the search of a folder was told of each candidate."""
    (log,) = folder.glob("runs/*/events.jsonl")
    return Counter(event["outcome"]["candidate"] for event in read_lines(log) if event["event"] == "told")


def starts(folder: Path) -> Counter[str]:
    """Return how often each training of a folder's searches was started, by its folder."""
    return Counter({str(log.parent): len(list(read_lines(log))) for log in folder.glob("runs/*/trials/*/starts.jsonl")})
