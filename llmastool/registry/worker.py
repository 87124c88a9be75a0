"""The process inside the sandbox: torch is imported once, and every job runs in a child forked from here.

It reads one JSON line with the bundles and programs, then one line per job, and writes one line per result. A job is to
probe a module, or to run a program and see what it builds.
A child has limits of its own, no way to the protocol's pipes, and is killed, with all it started, when its time is up.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch

from llmastool.canonical import Json, dumps
from llmastool.mining.bundle import Program, unpack
from llmastool.registry.probe import probe
from llmastool.registry.record import STAGES, Probe, Stage
from llmastool.registry.seen import Sighting, from_json, to_json
from llmastool.registry.sightings import run_program
from llmastool.registry.values import Resolver
from llmastool.sandbox import Limits, adopt_orphans, enclose, virtual_memory

_RESULT_LIMIT = 4 * 1024**2
"""Longest result that is taken from a child, in bytes."""

_COMMON = frozenset({"einops", "numpy", "torchvision"})
"""Packages that many sources import, and that take long to import: once here, where a source needs them."""

_WARM_UP = ("torch.nn.Conv2d", "torch.nn.BatchNorm2d", "torch.nn.TransformerEncoderLayer", "torch.nn.MaxPool2d")
"""Probed once before any fork, so that what torch imports on first use is there in every child."""


@dataclass
class _Child:
    pid: int
    job: Json
    pipe: int
    deadline: float
    started: float
    data: bytes = b""


def main() -> None:
    """Serve jobs until the input ends."""
    requests = sys.stdin.buffer
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    setup = json.loads(requests.readline())
    resolver = Resolver({b.id: b for b in unpack(setup["bundles"])})
    programs = {p.name: p for p in map(Program.from_json, setup["programs"])}
    warnings.simplefilter("ignore")
    importlib.import_module("torch._dynamo")  # some operators import it at first use: once here, not in every child
    needed = {name for b in resolver.bundles.values() for name in b.third_party}
    needed |= {name for p in programs.values() for name in p.third_party}
    for name in sorted(_COMMON & needed - set(setup["blocked"])):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    _block_imports(setup["blocked"])
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    for module in _WARM_UP:
        probe(module, resolver)
    adopt_orphans()
    server = _Server(resolver, programs, setup["limits"], setup["seconds"])
    for result in server.serve((json.loads(line) for line in requests), setup["workers"]):
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


class _Server:
    """Runs jobs in forked children, several at once."""

    def __init__(
        self, resolver: Resolver, programs: dict[str, Program], limits: dict[str, int], seconds: float
    ) -> None:
        self.resolver, self.programs, self.limits, self.seconds = resolver, programs, limits, seconds

    def serve(self, jobs: Iterator[Json], workers: int) -> Iterator[Json]:
        """Yield the results of all jobs, as they come."""
        running: list[_Child] = []
        more = True
        while more or running:
            while more and len(running) < workers:
                job = next(jobs, None)
                if job is None:
                    more = False
                    break
                running.append(self._start(job))
            for child in _wait(running):
                running.remove(child)
                yield _finish(child, {c.pid for c in running})

    def _start(self, job: Json) -> _Child:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(read)
                self._run_child(job, write)
            finally:
                os._exit(1)  # whatever happens, no child goes on as if it were the server
        os.close(write)
        now = time.monotonic()
        return _Child(pid, job, read, now + self.seconds, now)

    def _run_child(self, job: Json, pipe: int) -> None:
        """Do a job in this forked child, and leave without returning."""
        os.setsid()
        enclose()
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        for fd in sorted(int(f) for f in os.listdir("/proc/self/fd")):  # noqa: PTH208 - names only, no paths wanted
            if fd > 2 and fd != pipe:
                try:
                    os.close(fd)
                except OSError:  # the listing's own descriptor is gone already
                    continue
        memory = self.limits["memory_bytes"] + virtual_memory()
        Limits(**{**self.limits, "memory_bytes": memory}).apply()
        with os.fdopen(pipe, "wb") as file:
            if "program" in job:
                _tell(file, {"seen": to_json(run_program(self.programs[job["program"]]))})
            else:
                seen = [Sighting.from_json(s) for s in job["seen"]]

                def at(stage: Stage, args: Mapping[str, Json] | None) -> None:
                    _tell(file, {"stage": stage, "args": args})

                result, inside = probe(job["module"], self.resolver, seen, self.seconds, at)
                _tell(file, {"probe": result.to_json(), "seen": to_json(inside)})
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
    seconds = round(time.monotonic() - child.started, 3)
    *said, last = child.data.splitlines() or [b""]
    result = _read(last)
    if result is None:
        ending = _ending(status, late)
        if "program" in child.job:
            return {"job": child.job, "seen": {}, "message": ending, "seconds": seconds}
        nothing: tuple[Stage, Json] = ("load", None)
        stage, args = next(filter(None, map(_read_stage, (last, *reversed(said)))), nothing)
        fallen = Probe(module=child.job["module"], stage=stage, message=ending, args=args)
        return {"job": child.job, "probe": {**fallen.to_json(), "seconds": seconds}, "seen": {}}
    if "probe" in result:
        result["probe"] |= {"module": child.job["module"], "seconds": seconds}
    return {"job": child.job, **result, "seconds": seconds}


def _read(line: bytes) -> Json | None:
    """Return a child's result, read strictly: the child may have been taken over by what it ran."""
    try:
        value = json.loads(line)
        from_json(value["seen"])
        if "probe" in value:
            value["probe"] = Probe.from_json(value["probe"]).to_json()
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return {k: v for k, v in value.items() if k in ("probe", "seen")}


def _read_stage(line: bytes) -> tuple[Stage, Json] | None:
    """Return the stage that a child has begun, and what it had built by then."""
    try:
        value = json.loads(line)
        stage, args = value["stage"], value["args"]
    except (ValueError, TypeError, KeyError):
        return None
    return (stage, args) if stage in STAGES and isinstance(args, dict | None) else None


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
