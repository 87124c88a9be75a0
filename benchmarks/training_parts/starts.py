"""What a training takes beside its steps: a whole training of minutes, in its process and sandbox."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

from llmastool.canonical import Json
from llmastool.start import skeleton
from llmastool.start_config import Skeleton
from llmastool.training import job
from llmastool.training.data import DataConfig, load_meta, prepare
from llmastool.training.job import Job
from llmastool.training.recipe import Recipe, TrainingConfig

SECONDS = 180.0


def overhead(data: DataConfig, recipe: Recipe, repeats: int, seconds: float = SECONDS) -> Json:
    """Return which share of a training's time is not spent in its epochs.

    The length is set by epochs: one is trained first to see how long it takes.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(data, folder / "data", 0)
        meta = load_meta(folder / "data")
        tree = skeleton(Skeleton(channels=16, cells=1, stages=3), meta["shape"][0], meta["classes"])

        def run(epochs: int, name: str) -> tuple[float, float]:
            longer = replace(recipe, epochs=epochs)
            task = Job(tree=tree, registry=None, data=folder / "data", recipe=longer, seed=0, device="cpu")
            outcome = job.run(task, folder / name, TrainingConfig(recipe=task.recipe, seconds=20 * seconds))
            assert outcome.ok, outcome.message
            return outcome.seconds, outcome.metrics["train_seconds"]

        _, once = run(1, "once")
        epochs = max(2, round(seconds / once))
        runs = [run(epochs, f"run-{i}") for i in range(repeats)]
    shares = [(whole - inside) / whole for whole, inside in runs]
    return {
        "seconds": [whole for whole, _ in runs],
        "seconds_outside_epochs": [whole - inside for whole, inside in runs],
        "share": {"mean": statistics.fmean(shares), "most": max(shares)},
        "epochs": epochs,
        "repeats": repeats,
    }
