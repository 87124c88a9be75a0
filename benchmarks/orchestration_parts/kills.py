"""A search that is killed again and again, by SIGKILL at random moments, and started again by the same command."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TypeAlias

from llmastool.canonical import Json, read_json
from tests.pipelines.workspace import environment, finish, lay_out, starts, told, trained

LONGEST, LAST = 30.0, 1800.0
"""Most seconds after a start at which it is killed, and until the last start has to have ended."""

Cut: TypeAlias = defaultdict[str, set[int]]
"""By training, which of its starts were cut short."""


def survived(folder: Path, kills: int, seed: int = 0) -> Json:
    """Kill a search so many times, half of them as a stage and half as the plain program, and return what was lost.

    Lost is what had ended and is trained again, or is missing in the end; twice is what was told twice, and every start
    of a training that no kill had made necessary. The search is as long as the kills need: whenever one ends, it is
    begun anew with another seed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lay_out(folder)
    for name in ("mine", "registry"):
        finish(folder, name)
    draw, found = random.Random(seed), Counter[str]()
    base, number, unequal = (folder / "params.yaml").read_text(), 0, []
    while found["kills"] < kills:
        (folder / "params.yaml").write_text(base.replace("seed: 3", f"seed: {100 + number}"))
        finish(folder, "prepare")
        fingerprint, cut = _until_its_end(folder, kills, draw, found)
        (run,) = (path.parent for path in folder.glob("runs/*/run.json"))
        counts = told(folder)
        found["twice"] += sum(counts.values()) - len(counts)
        found["twice"] += sum(max(0, n - 1 - len(cut[trial])) for trial, n in starts(folder).items())
        run.rename(folder / f"killed-{number}")
        finish(folder, "search")
        if _fingerprint(folder) != fingerprint:
            unequal.append(number)
        (run,) = (path.parent for path in folder.glob("runs/*/run.json"))
        found["lost"] += _missing(run, folder / f"killed-{number}")
        run.rename(folder / f"whole-{number}")
        number += 1
    known = {name: found[name] for name in ("kills", "lost", "twice")}
    return {**known, "searches": number, "unequal_archives": len(unequal)}


def _until_its_end(folder: Path, kills: int, draw: random.Random, found: Counter[str]) -> tuple[str, Cut]:
    """Start a search and kill it until it ends, or until enough were killed.

    Returns:
        Its archive's fingerprint, and which starts of its trainings were cut short.
    """
    cut: Cut = defaultdict(set)
    program = ([sys.executable, "-m", "pipelines.stage", "search"], [sys.executable, "-m", "llmastool.cli", "search"])
    while True:
        known = {path: path.stat().st_mtime_ns for path in trained(folder)}
        command = program[found["kills"] % 2]
        process = _start(folder, command)
        limit = draw.uniform(0.0, LONGEST) if found["kills"] < kills else None
        try:
            process.wait(limit or LAST)
        except subprocess.TimeoutExpired:
            if limit is None:
                raise
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            found["kills"] += 1
            time.sleep(0.5)
            for trial, number in starts(folder).items():
                if not (Path(trial) / "outcome.json").exists():
                    cut[trial].add(number)
        found["lost"] += sum(not p.exists() or p.stat().st_mtime_ns != at for p, at in known.items())
        if process.returncode == 0:
            return _fingerprint(folder), cut
        if process.returncode != -signal.SIGKILL:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")


def _start(folder: Path, command: list[str]) -> subprocess.Popen[bytes]:
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _fingerprint(folder: Path) -> str:
    return str(read_json(folder / "artifacts" / "search" / "archive.json")["fingerprint"])


def _missing(whole: Path, killed: Path) -> int:
    """Return how many trainings of the search that was not killed the killed one lacks."""
    names = [{path.parent.name for path in run.glob("trials/*/outcome.json")} for run in (whole, killed)]
    return len(names[0] - names[1])
