"""One training as a job: a value that says what to train on what, and a sandboxed process that does it once.

The folder of a job holds:

    job.json             what is to be done; another job is refused here
    data/                the splits that this job may see, and no others
    work/                the only place that the process can write to: checkpoint, result
    starts.jsonl         a line for each time that the process was started
    log.txt              what the process printed
    outcome.json         how it ended; once it is there, nothing is trained again
    outcome-<n>.json     how it stood after n epochs, where it was left there
    weights.safetensors  where the job keeps its weights
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from llmastool.canonical import Json, append_line, digest, read_json, write_json
from llmastool.config import from_mapping, require
from llmastool.errors import LLMasToolError, RegistryError
from llmastool.outcome import Outcome
from llmastool.training import process
from llmastool.training.data import META, files, load_meta
from llmastool.training.images.part import Split
from llmastool.training.recipe import Recipe, TrainingConfig, require_device
from llmastool.trees.tree import Tree

CODE_VERSION = 3
"""Raised by whoever changes what training computes: results of another version are not taken for this one's."""


STARTS = "starts.jsonl"

PARENT = "parent.safetensors"
"""The weights that a job begins with, in the folder of its data."""


class JobError(LLMasToolError):
    """A job's folder holds another job, or a job contradicts itself."""


@dataclass(frozen=True, kw_only=True)
class Parent:
    """The network that a job's network was made from, trained."""

    tree: Tree
    """The network."""
    key: str
    """Key of the job that trained it."""
    weights: Path
    """Its weights."""

    def to_json(self) -> Json:
        """Return a JSON value that `from_json` reads back."""
        return {"tree": self.tree.to_json(), "key": self.key, "weights": str(self.weights)}

    @staticmethod
    def from_json(value: Json) -> Parent:
        """Read what `to_json` wrote."""
        return Parent(tree=Tree.from_json(value["tree"]), key=value["key"], weights=Path(value["weights"]))


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to train, on what and how. Jobs of one key have one result, so each is done once."""

    tree: Tree
    """The network."""
    registry: Path | None
    """The registry of its mined modules; None where it has none."""
    data: Path
    """Folder that `llmastool.training.data.prepare` wrote."""
    recipe: Recipe
    """How to train."""
    seed: int
    """Seed of weights, order, augmentation and dropout."""
    train_on: Literal["train", "train+validation"] = "train"
    """Images to learn from."""
    evaluate_on: Literal["validation", "test"] = "validation"
    """Images to evaluate on at the end. A job that evaluates on `validation` cannot see the test split."""
    device: str = "auto"
    """As in `TrainingConfig`. Not part of the key."""
    threads: int = 1
    """CPU threads, 1 upwards. Not part of the key."""
    compile: Literal["never", "auto"] = "never"
    """As in `TrainingConfig`. Not part of the key."""
    until: int | None = None
    """Epochs after which it is left, to be gone on with later; None trains to the end. Not part of the key."""
    keep_weights: bool = False
    """Whether the trained weights stay in the folder. Not part of the key."""
    parent: Parent | None = None
    """Whose weights it begins with, in all modules that are the same; None for fresh weights everywhere."""

    def __post_init__(self) -> None:
        require(self.threads >= 1, "threads", "1 or more", self.threads)
        require(self.until is None or self.until >= 1, "until", "1 or more, or null", self.until)
        require(self.train_on in ("train", "train+validation"), "train_on", "train or train+validation", self.train_on)
        require(self.evaluate_on in ("validation", "test"), "evaluate_on", "validation or test", self.evaluate_on)
        require_device(self.device)
        if self.train_on == "train+validation" and self.evaluate_on == "validation":
            raise JobError("train_on: a job that learns from the validation split cannot evaluate on it; use test")

    @property
    def key(self) -> str:
        """Hash of all that the result depends on, 64 hexadecimal digits; the data's content is part of it.

        Raises:
            DataError: the data was not prepared.
        """
        data = load_meta(self.data)["digest"]
        what = [self.tree.id, data, self.recipe.to_json(), self.seed, self.train_on, self.evaluate_on]
        return digest([CODE_VERSION, *what, *([self.parent.key] if self.parent is not None else [])])

    @property
    def last(self) -> int:
        """The epoch after which the job ends or is left."""
        return min(self.until or self.recipe.epochs, self.recipe.epochs)

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that this job may see."""
        return ("train", "validation", "test") if self.evaluate_on == "test" else ("train", "validation")

    def to_json(self) -> Json:
        """Return a JSON value that `from_json` reads back."""
        return {
            "tree": self.tree.to_json(),
            "registry": None if self.registry is None else str(self.registry),
            "data": str(self.data),
            "recipe": self.recipe.to_json(),
            "parent": self.parent.to_json() if self.parent is not None else None,
            **{
                k: getattr(self, k)
                for k in ("seed", "train_on", "evaluate_on", "device", "threads", "compile", "until", "keep_weights")
            },
        }

    @staticmethod
    def from_json(value: Json) -> Job:
        """Read what `to_json` wrote."""
        fields = {
            **value,
            "tree": Tree.from_json(value["tree"]),
            "registry": None if value["registry"] is None else Path(value["registry"]),
            "data": Path(value["data"]),
            "recipe": from_mapping(Recipe, value["recipe"], "recipe"),
            "parent": Parent.from_json(value["parent"]) if value["parent"] is not None else None,
        }
        return Job(**fields)


def run(job: Job, folder: Path, config: TrainingConfig) -> Outcome:
    """Do the job in a sandboxed process of its own and return how it ended; done before, return what came of it.

    A start that was cut short goes on from its last whole epoch. Whatever the network does, an outcome is the result.

    Args:
        job: what to do.
        folder: the job's own folder; made where it is missing.
        config: limits of time and memory; the recipe is the job's own.

    Raises:
        JobError: the folder holds another job.
        DataError: the data was not prepared.
        RegistryError: the registry is missing.
        TrainingUnavailable: training could not be done here at all, which says nothing about the network, e.g. the
            disk is full or a file of the data is broken. Nothing is recorded, and the same call goes on later.
        SandboxError: the sandbox cannot be set up.
    """
    folder = folder.resolve()
    claim(job, folder)
    if (known := done(job, folder)) is not None:
        return known
    if job.registry is not None and not job.registry.exists():
        raise RegistryError(f"{job.registry}: no such registry; make it first (`dvc repro registry`)")
    _lay_out(job, folder)
    append_line(folder / STARTS, {"started": round(time.time(), 3)})
    outcome = process.run(job, folder, config)
    # A training that is gone on with took what it took before, too.
    outcome = replace(outcome, seconds=round(_seconds_before(job, folder) + outcome.seconds, 3))
    weights = folder / "work" / process.WEIGHTS
    if job.keep_weights and outcome.ok:
        weights.replace(folder / process.WEIGHTS)
    write_json(folder / outcome_file(job, job.last), outcome.to_json())
    shutil.rmtree(folder / "data", ignore_errors=True)
    if outcome.gate != "stopped":
        abandon(folder)
    return outcome


def abandon(folder: Path) -> None:
    """Remove what only a training that goes on needs: it will not."""
    shutil.rmtree(folder / "work", ignore_errors=True)


def done(job: Job, folder: Path) -> Outcome | None:
    """Return what came of a job that was done in a folder; None where it was not."""
    path = folder / outcome_file(job, job.last)
    return Outcome.from_json(read_json(path)) if path.exists() else None


def outcome_file(job: Job, epoch: int) -> str:
    """Return the name of the file in a job's folder with what came of it until the end of an epoch."""
    return "outcome.json" if epoch == job.recipe.epochs else f"outcome-{epoch}.json"


def _seconds_before(job: Job, folder: Path) -> float:
    rungs = [path for path in folder.glob("outcome-*.json") if int(path.stem.partition("-")[2]) < job.last]
    return max((Outcome.from_json(read_json(path)).seconds for path in rungs), default=0.0)


def claim(job: Job, folder: Path) -> None:
    """Write down whose folder it is.

    Raises:
        JobError: the folder holds another job.
        DataError: the data was not prepared.
    """
    path, key = folder / "job.json", job.key
    if path.exists() and (found := read_json(path)["key"]) != key:
        raise JobError(
            f"{folder}: holds job {found[:12]}, not {key[:12]}; a changed tree, dataset, recipe, seed or version of "
            "the code needs a folder of its own: remove this one or take another"
        )
    absolute: dict[str, Json] = {
        "data": str(folder / "data"),
        "registry": str(job.registry.resolve()) if job.registry else None,
    }
    if job.parent is not None:
        absolute["parent"] = {**job.parent.to_json(), "weights": str(folder / "data" / PARENT)}
    write_json(path, {"key": key, "job": {**job.to_json(), **absolute}})


def _lay_out(job: Job, folder: Path) -> None:
    """Put the job's splits into its folder, and the weights that it begins with."""
    shutil.rmtree(folder / "data", ignore_errors=True)
    for name in ("data", "work"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in (*(file for split in job.splits for file in files(split)), META):
        _link((job.data / name).resolve(), folder / "data" / name)
    if job.parent is not None:
        if not job.parent.weights.exists():
            raise process.TrainingUnavailable(
                f"{job.parent.weights}: expected the weights of the parent, found no such file; they are kept where "
                "`training.inherit` is on from the start: remove this run's folder and search again"
            )
        _link(job.parent.weights.resolve(), folder / "data" / PARENT)


def _link(source: Path, target: Path) -> None:
    """Make a hard link, which the sandbox shows read-only, or else a copy."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
