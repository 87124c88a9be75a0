"""The process inside the sandbox: torch is imported once, and every probe runs in a child forked from here.

It reads one JSON line with the bundles, then one line with a module's id per probe, and writes one line per result.
A child has limits of its own, no way to the protocol's pipes, and is killed, with all it started, when its time is up.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch

from llmastool.canonical import Json, dumps
from llmastool.mining.bundle import Bundle
from llmastool.registry.probe import STAGES, Probe, Stage, probe
from llmastool.registry.values import Resolver
from llmastool.sandbox import Limits, adopt_orphans, virtual_memory

_RESULT_LIMIT = 4 * 1024**2
"""Longest result that is taken from a child, in bytes."""

_WARM_UP = ("torch.nn.Conv2d", "torch.nn.BatchNorm2d", "torch.nn.TransformerEncoderLayer", "torch.nn.MaxPool2d")
"""Probed once before any fork, so that what torch imports on first use is there in every child."""


@dataclass
class _Child:
    pid: int
    module: str
    pipe: int
    deadline: float
    started: float
    data: bytes = b""


def main() -> None:
    """Serve probes until the input ends."""
    requests = sys.stdin.buffer
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    setup = json.loads(requests.readline())
    bundles = {b.id: b for b in map(Bundle.from_json, setup["bundles"])}
    _block_imports(setup["blocked"])
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    resolver = Resolver(bundles)
    for module in _WARM_UP:
        probe(module, resolver)
    adopt_orphans()
    modules = (json.loads(line) for line in requests)
    for result in _serve(modules, resolver, setup["limits"], setup["seconds"], setup["workers"]):
        out.write(dumps(result).encode() + b"\n")
        out.flush()


def _block_imports(names: list[str]) -> None:
    """Keep the mined packages themselves from being imported: a bundle has to stand on its own."""

    class Blocker:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:  # noqa: ARG004
            if name.split(".")[0] in names:
                raise ModuleNotFoundError(f"No module named {name!r} (mined sources are blocked here)", name=name)

    sys.meta_path.insert(0, Blocker)


def _serve(
    modules: Iterator[str], resolver: Resolver, limits: dict[str, int], seconds: float, workers: int
) -> Iterator[Json]:
    running: list[_Child] = []
    more = True
    while more or running:
        while more and len(running) < workers:
            module = next(modules, None)
            if module is None:
                more = False
                break
            running.append(_start(module, resolver, limits, seconds))
        for child in _wait(running):
            running.remove(child)
            yield _finish(child, {c.pid for c in running})


def _start(module: str, resolver: Resolver, limits: dict[str, int], seconds: float) -> _Child:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _run_child(module, resolver, limits, write)
    os.close(write)
    now = time.monotonic()
    return _Child(pid, module, read, now + seconds, now)


def _run_child(module: str, resolver: Resolver, limits: dict[str, int], pipe: int) -> None:
    """Probe one module in this forked child, and leave without returning."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for fd in sorted(int(f) for f in os.listdir("/proc/self/fd")):  # noqa: PTH208 - names only, no paths wanted
        if fd > 2 and fd != pipe:
            try:
                os.close(fd)
            except OSError:  # the listing's own descriptor is gone already
                continue
    memory = limits["memory_bytes"] + virtual_memory()
    Limits(**{**limits, "memory_bytes": memory}).apply()
    with os.fdopen(pipe, "wb") as file:
        result = probe(module, resolver, lambda stage: _tell(file, stage))
        _tell(file, result.to_json())
    os._exit(0)


def _tell(file: BinaryIO, value: Json) -> None:
    file.write(dumps(value).encode() + b"\n")
    file.flush()


def _wait(running: list[_Child]) -> list[_Child]:
    """Read what children have to say, and return those that are done or out of time."""
    if not running:
        return []
    timeout = max(0.0, min(c.deadline for c in running) - time.monotonic())
    ready, _, _ = select.select([c.pipe for c in running], [], [], timeout)
    done = []
    for child in running:
        if child.pipe in ready:
            part = os.read(child.pipe, 1 << 16)
            child.data += part
            if not part or len(child.data) > _RESULT_LIMIT:
                done.append(child)
        elif time.monotonic() >= child.deadline:
            done.append(child)
    return done


def _finish(child: _Child, others: set[int]) -> Json:
    os.close(child.pipe)
    late = time.monotonic() >= child.deadline
    _kill_group(child.pid)
    _, status = os.waitpid(child.pid, 0)
    _kill_orphans(others)
    seconds = time.monotonic() - child.started
    *stages, last = child.data.splitlines() or [b""]
    try:
        result = Probe.from_json(json.loads(last)).to_json()
    except (ValueError, TypeError, KeyError):
        stage: Stage = next((s for s in reversed(STAGES) if dumps(s).encode() in (*stages, last)), "load")
        result = Probe(module=child.module, stage=stage, message=_ending(status, late)).to_json()
    return {**result, "module": child.module, "seconds": round(seconds, 3)}


def _ending(status: int, late: bool) -> str:
    if late:
        return "killed: it ran past its time limit"
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return "killed: it ran past its CPU time" if name == "SIGXCPU" else f"died of {name}"
    return f"ended by itself with exit code {os.waitstatus_to_exitcode(status)}, with no result"


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _kill_orphans(running: set[int]) -> None:
    """Kill what a probe left behind: children of this process, inherited, other than the running probes."""
    me = os.getpid()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == me and int(folder.name) not in running:
            os.kill(int(folder.name), signal.SIGKILL)
            os.waitpid(int(folder.name), 0)


if __name__ == "__main__":
    main()
