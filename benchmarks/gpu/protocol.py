"""The baseline of the table: the ResNet of NAS-Bench-201 by its 12-epoch recipe."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.gpu.speed import device_name
from benchmarks.training import NETWORKS
from llmastool.canonical import Json
from llmastool.start import skeleton
from llmastool.training.data import load, load_meta
from llmastool.training.loop import seed_generators, train
from llmastool.training.recipe import Recipe
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog

SEEDS = 3


def resnet(folder: Path, recipe: Recipe, device: torch.device) -> Json:
    """Return the validation accuracies, by seed and precision, and seconds."""
    meta = load_meta(folder)
    tree = skeleton(NETWORKS["ResNet of NAS-Bench-201"], meta["shape"][0], meta["classes"])
    found: Json = {"device": device_name(device), "epochs": recipe.epochs}
    for precision in ("float32", "bfloat16"):
        reached, seconds = [], []
        for seed in range(SEEDS):
            seed_generators(seed)
            net, started = build(tree, Catalog.open(None)), time.perf_counter()
            curve = train(
                net,
                load(folder, "train"),
                load(folder, "validation"),
                meta,
                replace(recipe, precision=precision),  # type: ignore[arg-type]
                seed=seed,
                device=device,
            )
            reached.append(curve[-1]["validation_accuracy"])
            seconds.append(time.perf_counter() - started)
        found[precision] = {"validation_accuracy": reached, "seconds": seconds}
    return found
