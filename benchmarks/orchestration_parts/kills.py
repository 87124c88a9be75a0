"""A search that is killed again and again, by SIGKILL at random moments, and started again by the same command."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from llmastool.canonical import Json, read_json
from tests.pipelines.workspace import environment, finish, lay_out, told, trained

LONGEST = 30.0
"""Most seconds after a start at which it is killed: a start takes some ten of them."""


def survived(folder: Path, kills: int, seed: int = 0) -> Json:
    """Kill a search so many times, half of them as a stage and half as the plain program, and return what was lost.

    Lost is what had ended and is trained again, or is missing in the end; twice is what was told or trained twice. The
    search is as long as the kills need: whenever one ends, it is begun anew with another seed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lay_out(folder)
    for name in ("prepare", "mine", "registry"):
        finish(folder, name)
    draw, found = random.Random(seed), Counter[str]()
    base, number, unequal = (folder / "params.yaml").read_text(), 0, []
    while found["kills"] < kills:
        (folder / "params.yaml").write_text(base.replace("seed: 3", f"seed: {100 + number}"))
        fingerprint = _until_its_end(folder, kills, draw, found)
        (run,) = (path.parent for path in folder.glob("runs/*/run.json"))
        counts = told(folder)
        found["twice"] += sum(counts.values()) - len(counts)
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


def _until_its_end(folder: Path, kills: int, draw: random.Random, found: Counter[str]) -> str:
    """Start a search and kill it until it ends, or until enough were killed; return its archive's fingerprint."""
    program = ([sys.executable, "-m", "pipelines.stage", "search"], [sys.executable, "-m", "llmastool.cli", "search"])
    while True:
        known = {path: path.stat().st_mtime_ns for path in trained(folder)}
        command = program[found["kills"] % 2]
        process = _start(folder, command)
        limit = draw.uniform(0.0, LONGEST) if found["kills"] < kills else None
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            found["kills"] += 1
            time.sleep(0.5)
        found["lost"] += sum(not p.exists() or p.stat().st_mtime_ns != at for p, at in known.items())
        if process.returncode == 0:
            return _fingerprint(folder)
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
