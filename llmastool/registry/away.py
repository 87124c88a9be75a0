"""Probes on other machines: a batch of jobs names what it refers to by its digest in a store."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from llmastool.canonical import Json, dumps, read_json
from llmastool.registry.pool import ProbeConfig, Workload, run_jobs
from llmastool.store import Store

FEWEST, MOST = 8, 32
"""Jobs of a batch: fewer would be outweighed by the start of the sandbox, more could not be spread well."""

_WORKLOAD = "workload.json"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Jobs that are run together, elsewhere."""

    jobs: tuple[Json, ...]
    workload: str
    """Name in the store of what they refer to."""
    store: str
    """Address of the store."""
    config: ProbeConfig


def batches(jobs: Sequence[Json], workload: Workload, config: ProbeConfig, store: Store, slots: int) -> list[Batch]:
    """Have the workload in the store and return the jobs in batches.

    Args:
        jobs: as in `llmastool.registry.pool.run_jobs`.
        workload: what they refer to.
        config: limits of a probe; each batch runs one at a time.
        store: the store.
        slots: batches that can run at once.
    """
    size = min(MOST, max(FEWEST, math.ceil(len(jobs) / (4 * slots))))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / _WORKLOAD).write_text(dumps(workload.to_json()))
        name = store.keep(Path(folder))
    alone = replace(config, workers=1)
    return [
        Batch(jobs=tuple(jobs[first : first + size]), workload=name, store=store.url, config=alone)
        for first in range(0, len(jobs), size)
    ]


def do(batch: Batch, cache: Path) -> list[Json]:
    """Run a batch in this machine's sandbox and return its results.

    Args:
        batch: what to run.
        cache: folder on this machine's own disk.

    Raises:
        StoreError: the store lacks the workload, or is not reached from here.
        SandboxError: the sandbox cannot be set up.
    """
    return list(run_jobs(batch.jobs, _workload(batch.store, batch.workload, cache), batch.config))


@lru_cache(maxsize=2)
def _workload(store: str, name: str, cache: Path) -> Workload:
    return Workload.from_json(read_json(Store(store).kept(name, cache) / _WORKLOAD))
