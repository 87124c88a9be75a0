"""Candidates an hour, by how many of them share the device."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from benchmarks.gpu.speed import device_name
from benchmarks.training import NETWORKS
from llmastool.canonical import Json
from llmastool.start import skeleton
from llmastool.training import job
from llmastool.training.data import load_meta
from llmastool.training.job import Job
from llmastool.training.recipe import Recipe, TrainingConfig


def rates(folder: Path, recipe: Recipe, device: str, work: Path, workers: Sequence[int]) -> Json:
    """Train small candidates in their processes, so many at once, and return how many an hour would be done."""
    meta = load_meta(folder)
    tree = skeleton(NETWORKS["small"], meta["shape"][0], meta["classes"])
    found: Json = {"device": device_name(torch.device(device))}
    for number in workers:
        trials = work / f"sharing-{number}"
        shutil.rmtree(trials, ignore_errors=True)
        config = TrainingConfig(recipe=recipe, workers=number, seconds=3600.0, memory_gb=8.0, device=device)

        def one(seed: int, trials: Path = trials, config: TrainingConfig = config) -> float:
            task = Job(tree=tree, registry=None, data=folder, recipe=recipe, seed=seed, device=device)
            outcome = job.run(task, trials / str(seed), config)
            assert outcome.ok, outcome.message
            return outcome.metrics["validation_accuracy"]

        started = time.perf_counter()
        with ThreadPoolExecutor(number) as pool:
            reached = list(pool.map(one, range(2 * number)))
        seconds = time.perf_counter() - started
        found[str(number)] = {
            "candidates_per_hour": 3600 * 2 * number / seconds,
            "validation_accuracy": reached,
            "seconds": seconds,
        }
    return found
