"""Run probes in the sandbox, from outside: one warm process, whose forked children do the work."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

from llmastool import sandbox
from llmastool.canonical import Json, dumps
from llmastool.config import require
from llmastool.errors import SandboxError
from llmastool.mining.bundle import Bundle, Program, pack, unpack
from llmastool.registry.record import Probe


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """Limits of the probing."""

    workers: int = 2
    """Probes that run at once."""
    seconds: float = 30.0
    """Wall time of one probe, in seconds."""
    memory_gb: float = 0.8
    """Memory of one probe on top of what torch itself maps, in GiB."""

    def __post_init__(self) -> None:
        require(1 <= self.workers <= 256, "workers", "1 to 256", self.workers)
        require(0 < self.seconds <= 3600, "seconds", "more than 0, at most 3600", self.seconds)
        require(0 < self.memory_gb <= 1024, "memory_gb", "more than 0, at most 1024", self.memory_gb)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What jobs may refer to."""

    bundles: Collection[Bundle]
    """All mined modules."""
    programs: Collection[Program] = ()
    """All programs of the sources."""
    blocked: Collection[str] = ()
    """Top-level packages that must not be importable, the mined ones."""

    def to_json(self) -> Json:
        """Return a JSON value that `from_json` reads back."""
        return {
            "bundles": pack(list(self.bundles)),
            "programs": [p.to_json() for p in self.programs],
            "blocked": sorted(self.blocked),
        }

    @staticmethod
    def from_json(value: Json) -> Workload:
        """Read what `to_json` wrote."""
        programs = [Program.from_json(p) for p in value["programs"]]
        return Workload(bundles=unpack(value["bundles"]), programs=programs, blocked=value["blocked"])


RunsJobs: TypeAlias = Callable[[Sequence[Json], Workload, ProbeConfig], Iterator[Json]]
"""What runs jobs: `run_jobs`, or what has them run elsewhere."""


def run_jobs(jobs: Sequence[Json], workload: Workload, config: ProbeConfig) -> Iterator[Json]:
    """Run jobs in the sandbox and yield the results as they come, one for each job, in no fixed order.

    Args:
        jobs: `{"module": id, "seen": sightings}` probes a module, `{"program": name}` runs a program.
        workload: what they refer to.
        config: limits.

    Yields:
        `{"job": job, "probe": ..., "seen": ..., "seconds": ...}`; `seen` are sightings of other modules by name.

    Raises:
        SandboxError: the sandbox cannot be set up.
    """
    left = list(jobs)
    died_over: Json | None = None
    while left:
        finished = []
        for result in _run_once(left, workload, config):
            finished.append(result["job"])
            yield result
        left = [j for j in left if j not in finished]
        if left:
            warnings.warn(f"the sandbox's own process ended early and is started again, {len(left)} left", stacklevel=2)
        if left and left[0] == died_over:
            yield _given_up(left.pop(0))
        died_over = left[0] if left else None


def _given_up(job: Json) -> Json:
    """Return the result of a job over which the sandbox's own process died twice."""
    message = "the sandbox's own process died twice while it ran"
    if "program" in job:
        return {"job": job, "seen": {}, "message": message, "seconds": 0.0}
    return {"job": job, "probe": Probe(module=job["module"], stage="load", message=message).to_json(), "seen": {}}


def name_of(job: Json) -> str:
    """Return the module or program that a job is about."""
    return str(job.get("module") or job.get("program"))


def run_probes(
    modules: Sequence[str], bundles: Collection[Bundle], blocked: Collection[str], config: ProbeConfig
) -> Iterator[Probe]:
    """Probe modules without anything having been seen of them, and yield the results as they come."""
    workload = Workload(bundles=bundles, blocked=blocked)
    for result in run_jobs([{"module": m, "seen": []} for m in modules], workload, config):
        yield Probe.from_json(result["probe"])


def _run_once(jobs: Sequence[Json], workload: Workload, config: ProbeConfig) -> Iterator[Json]:
    limits = sandbox.Limits(memory_bytes=int(config.memory_gb * sandbox.GIB), cpu_seconds=int(config.seconds) + 1)
    setup = {
        **workload.to_json(),
        "limits": asdict(limits),
        "seconds": config.seconds,
        "workers": config.workers,
    }
    argv = sandbox.command([sys.executable, "-m", "llmastool.registry.worker"])
    with tempfile.TemporaryFile() as requests, tempfile.TemporaryFile() as log:
        requests.write("".join(dumps(line) + "\n" for line in (setup, *jobs)).encode())
        requests.seek(0)
        with subprocess.Popen(
            argv, stdin=requests, stdout=subprocess.PIPE, stderr=log, env=sandbox.environment()
        ) as process:
            assert process.stdout is not None
            got_any = False
            try:
                for line in process.stdout:
                    got_any = True
                    yield json.loads(line)
            finally:
                if process.poll() is None and sys.exc_info()[0] is not None:
                    process.kill()
            if process.wait() != 0 and not got_any:
                log.seek(0)
                tail = log.read().decode("utf-8", "replace").strip().splitlines()[-1:]
                raise SandboxError(f"the sandbox's process could not start: {''.join(tail) or process.returncode}")
