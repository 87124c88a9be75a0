"""Images a second: our loop beside a plain one on tensors that are on the device, and beside what the device can do."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from benchmarks.training import NETWORKS
from llmastool.canonical import Json
from llmastool.start import skeleton
from llmastool.training.augment import Normaliser
from llmastool.training.data import load, load_meta
from llmastool.training.loop import Data, seed_generators, train
from llmastool.training.recipe import Recipe
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog
from llmastool.trees.observe import Network
from llmastool.trees.profile import BATCH

REPEATS = 3
SIZE = 8192
"""Side of the square matrices whose product shows what the device can do."""


def beside(folder: Path, recipe: Recipe, device: torch.device, epochs: int) -> Json:
    """Return images a second of every loop on every network, and the share of the device's peak that ours reaches.

    An image costs three times its multiply-adds forward, two operations each.
    """
    meta, data = load_meta(folder), load(folder, "train")
    catalog, recipe = Catalog.open(None), replace(recipe, epochs=epochs)
    peaks = {name: _peak(device, kind) for name, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16))}
    found: Json = {"device": device_name(device), "peak_flops": peaks, "epochs": epochs, "networks": {}}
    for name, config in NETWORKS.items():
        tree = skeleton(config, meta["shape"][0], meta["classes"])
        flops = 6 * Network(tree, catalog, (BATCH, *meta["shape"])).profile.flops

        def net(tree=tree) -> nn.Module:  # type: ignore[no-untyped-def]
            seed_generators(0)
            return build(tree, catalog)

        loops: dict[str, Callable[[], object]] = {
            "ours": lambda net=net: train(net(), data, None, meta, recipe, seed=0, device=device),
            "ours, bfloat16": lambda net=net: train(
                net(), data, None, meta, replace(recipe, precision="bfloat16"), seed=0, device=device
            ),
            "plain": lambda net=net: _plain(net().to(device), data, meta, recipe, device),
        }
        rates = {loop: _rate(run, epochs * len(data[1]), device) for loop, run in loops.items()}
        found["networks"][name] = {
            "images_per_second": rates,
            "ours_over_plain": rates["ours"] / rates["plain"],
            "share_of_peak": rates["ours"] * flops / peaks["float32"],
            "share_of_peak_bfloat16": rates["ours, bfloat16"] * flops / peaks["bfloat16"],
        }
    return found


def _rate(run: Callable[[], object], images: int, device: torch.device) -> float:
    times = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        run()
        _wait(device)
        times.append(time.perf_counter() - started)
    return images / statistics.median(times[1:])


def _plain(net: nn.Module, data: Data, meta: Json, recipe: Recipe, device: torch.device) -> None:
    """Train on normalised tensors on the device, without augmentation."""
    images = Normaliser.of(meta, device)(data[0].to(device)).contiguous()
    labels = data[1].to(device)
    optimiser = torch.optim.SGD(
        net.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True
    )
    net.train()
    for _ in range(recipe.epochs):
        for rows in torch.randperm(len(labels), device=device).split(recipe.batch_size):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(images[rows]), labels[rows]).backward()
            optimiser.step()


def _peak(device: torch.device, kind: torch.dtype) -> float:
    """Return operations a second of a large product of matrices."""
    side = SIZE if device.type == "cuda" else 512
    a, b = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    times = []
    for _ in range(6):
        started = time.perf_counter()
        a @ b
        _wait(device)
        times.append(time.perf_counter() - started)
    return 2 * side**3 / min(times[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    return torch.cuda.get_devicedevice_name(device) if device.type == "cuda" else "cpu"
