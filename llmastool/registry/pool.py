"""Run probes in the sandbox, from outside: one warm process, whose forked children do the work."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass

from llmastool import sandbox
from llmastool.canonical import dumps
from llmastool.config import require
from llmastool.errors import SandboxError
from llmastool.mining.bundle import Bundle
from llmastool.registry.probe import Probe


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """Limits of the probing."""

    workers: int = 2
    """Probes that run at once."""
    seconds: float = 20.0
    """Wall time of one probe, in seconds."""
    memory_gb: float = 3.0
    """Memory of one probe on top of what torch itself maps, in GiB."""

    def __post_init__(self) -> None:
        require(1 <= self.workers <= 256, "workers", "1 to 256", self.workers)
        require(0 < self.seconds <= 3600, "seconds", "more than 0, at most 3600", self.seconds)
        require(0 < self.memory_gb <= 1024, "memory_gb", "more than 0, at most 1024", self.memory_gb)


def run_probes(
    modules: Sequence[str], bundles: Collection[Bundle], blocked: Collection[str], config: ProbeConfig
) -> Iterator[Probe]:
    """Probe modules and yield the results as they come, one for each module, in no fixed order.

    Args:
        modules: ids of the modules to probe.
        bundles: all bundles that these may refer to.
        blocked: top-level packages that must not be importable, the mined ones.
        config: limits.

    Raises:
        SandboxError: the sandbox cannot be set up, or its process died twice over the same module.
    """
    left = list(modules)
    died_over: str | None = None
    while left:
        finished = set()
        for result in _run_once(left, bundles, blocked, config):
            finished.add(result.module)
            yield result
        left = [m for m in left if m not in finished]
        if left:
            warnings.warn(f"the sandbox's own process ended early and is started again, {len(left)} left", stacklevel=2)
        if left and left[0] == died_over:
            raise SandboxError(f"the sandbox's own process died twice while probing {left[0]}")
        died_over = left[0] if left else None


def _run_once(
    modules: Sequence[str], bundles: Collection[Bundle], blocked: Collection[str], config: ProbeConfig
) -> Iterator[Probe]:
    limits = sandbox.Limits(memory_bytes=int(config.memory_gb * sandbox.GIB), cpu_seconds=int(config.seconds) + 1)
    setup = {
        "bundles": [b.to_json() for b in bundles],
        "blocked": sorted(blocked),
        "limits": asdict(limits),
        "seconds": config.seconds,
        "workers": config.workers,
    }
    argv = sandbox.command([sys.executable, "-m", "llmastool.registry.worker"])
    with tempfile.TemporaryFile() as requests, tempfile.TemporaryFile() as log:
        requests.write("".join(dumps(line) + "\n" for line in (setup, *modules)).encode())
        requests.seek(0)
        with subprocess.Popen(
            argv, stdin=requests, stdout=subprocess.PIPE, stderr=log, env=sandbox.environment()
        ) as process:
            assert process.stdout is not None
            got_any = False
            try:
                for line in process.stdout:
                    got_any = True
                    yield Probe.from_json(json.loads(line))
            finally:
                if process.poll() is None and sys.exc_info()[0] is not None:
                    process.kill()
            if process.wait() != 0 and not got_any:
                log.seek(0)
                tail = log.read().decode("utf-8", "replace").strip().splitlines()[-1:]
                raise SandboxError(f"the sandbox's process could not start: {''.join(tail) or process.returncode}")
