"""A training on another machine: what it needs goes through a store by digest, what came of it comes back that way.

The worker's folder of a training is as `llmastool.training.job` describes it. A worker that dies leaves it behind; the
next start on that machine goes on from its checkpoint, on another machine from what the store holds.
"""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from llmastool.canonical import Json, digest
from llmastool.outcome import Outcome
from llmastool.outputs import alone_at
from llmastool.store import Store
from llmastool.training.job import Job, claim, done, outcome_file, run
from llmastool.training.process import WEIGHTS
from llmastool.training.recipe import TrainingConfig

_HERE = ("job.json", "data")
"""What a training's folder holds that means nothing on another machine."""


@dataclass(frozen=True, kw_only=True)
class Errand:
    """A job to be done elsewhere. Nothing in it is a path on this machine."""

    name: str
    """Of the training, for people."""
    job: Json
    """As `Job.to_json` gives it; data, registry and the parent's weights are names in the store."""
    store: str
    """Address of the store."""
    state: str | None
    """Name of what was left of the training at an earlier epoch; None begins anew."""
    result: str
    """Name under which the training's folder is to be put."""


def send(job: Job, folder: Path, store: Store) -> Errand:
    """Have in the store what a job needs that is not there yet, and return the errand.

    Args:
        job: what to do.
        folder: the training's folder on this machine, where an earlier part of it may lie.
        store: the store.

    Raises:
        JobError: the folder holds another job.
        DataError: the data was not prepared.
    """
    claim(job, folder)
    value = {**job.to_json(), "data": store.keep(job.data)}
    if job.registry is not None:
        value["registry"] = store.keep(job.registry)
    if job.parent is not None:
        with _alone(job.parent.weights) as weights:
            value["parent"] = {**job.parent.to_json(), "weights": store.keep(weights)}
    state = None
    left = max((epoch for epoch in range(1, job.last) if (folder / outcome_file(job, epoch)).exists()), default=None)
    if left is not None:
        state = _name(folder, job, left)
        if not store.holds(state):
            store.put(state, folder, without=_HERE)
    return Errand(name=folder.name, job=value, store=store.url, state=state, result=_name(folder, job, job.last))


def do(errand: Errand, config: TrainingConfig, cache: Path) -> Outcome:
    """Do an errand on this machine, leave the training's folder in the store, and return how it ended.

    Done before, also by another machine, it returns what came of it. Two at a time on one machine do it once.

    Args:
        errand: what to do.
        config: limits; the recipe is the job's own.
        cache: folder on this machine's own disk.

    Raises:
        StoreError: the store lacks something, or is not reached from here.
        TrainingUnavailable: see `llmastool.training.job.run`.
    """
    store = Store(errand.store)
    job = _here(errand, store, cache)
    folder = cache / "trials" / errand.result.rpartition("/")[2]
    with alone_at(folder):
        if store.holds(errand.result):
            store.take(errand.result, folder)
            outcome = done(job, folder)
            assert outcome is not None, f"{errand.result}: a result without an outcome"
        else:
            if errand.state is not None and not folder.exists():
                store.take(errand.state, folder)
            outcome = run(job, folder, config)
            store.put(errand.result, folder, without=_HERE)
        shutil.rmtree(folder)
    return outcome


def take_back(errand: Errand, job: Job, folder: Path) -> Outcome | None:
    """Have the folder of a training that was done elsewhere on this machine, and return its outcome; None if it is not.

    The store is left with nothing of it.

    Args:
        errand: what `send` returned.
        job: the job that it is about.
        folder: the training's folder on this machine.
    """
    store = Store(errand.store)
    if not store.holds(errand.result):
        return None
    store.take(errand.result, folder)
    claim(job, folder)
    forget(job, folder, store)
    return done(job, folder)


def forget(job: Job, folder: Path, store: Store) -> None:
    """Remove from a store what it holds of a training whose folder is on this machine."""
    for epoch in range(1, job.last + 1):
        if (folder / outcome_file(job, epoch)).exists():
            store.remove(_name(folder, job, epoch))


def _name(folder: Path, job: Job, epoch: int) -> str:
    # A training of another run has other limits, or is waited for by somebody else.
    place = digest([platform.node(), str(folder.resolve())])[:12]
    return f"trials/{job.key[:24]}-{place}-{epoch}"


def _here(errand: Errand, store: Store, cache: Path) -> Job:
    """Return the errand's job with paths on this machine."""
    value = dict(errand.job)
    for name in ("data", "registry"):
        if value[name] is not None:
            value[name] = str(store.kept(value[name], cache))
    job = Job.from_json(value)
    if job.parent is not None:
        weights = store.kept(str(job.parent.weights), cache) / WEIGHTS
        job = replace(job, parent=replace(job.parent, weights=weights))
    return job


@contextmanager
def _alone(file: Path) -> Iterator[Path]:
    """Have a file in a folder that holds nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(file, Path(folder) / file.name)
        yield Path(folder)
