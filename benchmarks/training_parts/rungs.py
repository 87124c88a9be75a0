"""Searches with and without successive halving, and at random, for equal times: the best network against seconds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import searches
from benchmarks.searches import QUICK, Arm, Task
from llmastool.canonical import Json
from llmastool.halving import HalvingConfig
from llmastool.training.data import DataConfig
from llmastool.trees.budget import Budget

ARMS = {
    "planner with halving": Arm(halving=HalvingConfig(rungs=(2,))),
    "planner": Arm(),
    "random": Arm(strategy="random"),
}


def task(folder: Path, seconds: float, images: int = 10_000) -> Task:
    """Return the search on 10,000 images of CIFAR-10: 6,000 to learn from, 2,000 to validate on."""
    return Task(
        data=DataConfig(name="cifar10-10k", path=str(folder), limit=images, flip=True),
        recipe=replace(QUICK, epochs=9),
        budget=Budget(parameters=1_000_000, flops=20_000_000),
        seconds=seconds,
    )


def compare(folder: Path, work: Path, seeds: int, seconds: float) -> Json:
    """Run all arms, and return what each came to, with the best accuracy over time."""
    return searches.compare(task(folder, seconds), work, seeds, ARMS)


def draw(results: Json, path: Path) -> None:
    """Draw the best validation accuracy against training seconds, mean and spread over the seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axes = plt.subplots(figsize=(7, 4.2))
    grid = np.linspace(0, results["seconds"], 200)
    for name, row in results["arms"].items():
        curves = np.array([_at(grid, points) for points in row["timelines"]])
        mean, sd = np.nanmean(curves, axis=0), np.nanstd(curves, axis=0)
        (line,) = axes.plot(grid, mean, label=name)
        axes.fill_between(grid, mean - sd, mean + sd, alpha=0.15, color=line.get_color())
    axes.set_xlabel("training seconds on one core")
    axes.set_ylabel("best validation accuracy (%)")
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _at(grid: Iterable[float], points: Sequence[tuple[float, float]]) -> list[float]:
    return [max((best for at, best in points if at <= second), default=math.nan) or math.nan for second in grid]
