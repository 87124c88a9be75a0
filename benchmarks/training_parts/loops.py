"""The loop beside two others that do the same: a bare one on tensors in memory, and torchvision's usual one."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from llmastool.canonical import Json
from llmastool.training.augment import Normaliser
from llmastool.training.loop import Data, evaluate, seed_generators, train
from llmastool.training.recipe import Recipe
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog
from llmastool.trees.tree import Tree

DEVICE = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Race:
    """What all loops train: the same networks on the same images by the same recipe."""

    trees: Mapping[str, Tree]
    catalog: Catalog
    learn: Data
    validation: Data
    meta: Mapping[str, Json]
    recipe: Recipe

    def net(self, name: str, seed: int) -> nn.Module:
        """Return a network with weights of its own."""
        seed_generators(seed)
        return build(self.trees[name], self.catalog)


Loop: TypeAlias = Callable[[Race, nn.Module, int], None]
Batches: TypeAlias = Iterator[tuple[Tensor, Tensor]]


def ours(race: Race, net: nn.Module, seed: int) -> None:
    """Train as candidates are trained."""
    train(net, race.learn, None, race.meta, race.recipe, seed=seed, device=DEVICE)


def bare(race: Race, net: nn.Module, seed: int, layout: torch.memory_format = torch.contiguous_format) -> None:
    """Train on tensors that are normalised already, without augmentation: nothing but the steps."""
    images, labels = Normaliser.of(race.meta, DEVICE)(race.learn[0]).contiguous(memory_format=layout), race.learn[1]
    generator = torch.Generator().manual_seed(seed)

    def batches() -> Batches:
        order = torch.randperm(len(labels), generator=generator)
        return ((images[rows], labels[rows]) for rows in order.split(race.recipe.batch_size))

    _steps(race.recipe, net, batches, math.ceil(len(labels) / race.recipe.batch_size))


def bare_channels_last(race: Race, net: nn.Module, seed: int) -> None:
    """The same with images and weights that lie channels last, as ours do."""
    bare(race, net.to(memory_format=torch.channels_last), seed, torch.channels_last)


def dataloader(race: Race, net: nn.Module, seed: int, workers: int = 0) -> None:
    """Train as torchvision's users do: PIL images, transforms one by one, a `DataLoader`."""
    mean, std = race.meta["mean"], race.meta["std"]
    height = race.learn[0].shape[2]
    steps = [transforms.RandomCrop(height, padding=race.recipe.padding(height))]
    steps += [transforms.RandomHorizontalFlip()] if race.meta["flip"] else []
    pictures = Pictures(
        race.learn, transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(mean, std)])
    )
    generator = torch.Generator().manual_seed(seed)
    loader = DataLoader(
        pictures, race.recipe.batch_size, shuffle=True, num_workers=workers, generator=generator, drop_last=False
    )
    _steps(race.recipe, net, lambda: iter(loader), len(loader))


def dataloader_two_workers(race: Race, net: nn.Module, seed: int) -> None:
    """The same with two processes that make the batches, on cores of their own where there are any."""
    dataloader(race, net, seed, workers=2)


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's own sets hold them."""

    def __init__(self, data: Data, transform: Callable[[Image.Image], Tensor]) -> None:
        self._images = [Image.fromarray(image) for image in data[0].permute(0, 2, 3, 1).numpy()]
        self._labels, self._transform = data[1].tolist(), transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(self._images[index]), self._labels[index]


def _steps(recipe: Recipe, net: nn.Module, batches: Callable[[], Batches], per_epoch: int) -> None:
    optimiser = torch.optim.SGD(
        net.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
    )
    number = 0
    for _ in range(recipe.epochs):
        net.train()
        for images, labels in batches():
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate(number, per_epoch)
            number += 1
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(images), labels).backward()
            optimiser.step()


LOOPS: Mapping[str, Loop] = {
    "ours": ours,
    "bare loop": bare,
    "bare loop, channels last": bare_channels_last,
    "DataLoader": dataloader,
    "DataLoader, 2 workers": dataloader_two_workers,
}


def speed(race: Race, repeats: int) -> Json:
    """Return images a second of all loops, in turns, and ours as a multiple of the others', round by round."""
    found: Json = {}
    for name in race.trees:
        rates: dict[str, list[float]] = {loop: [] for loop in LOOPS}
        for repeat in range(repeats + 1):
            for loop, run in LOOPS.items():
                net = race.net(name, repeat)
                started = time.perf_counter()
                run(race, net, repeat)
                seconds = time.perf_counter() - started
                if repeat:  # the first round warms up
                    rates[loop].append(race.recipe.epochs * len(race.learn[1]) / seconds)
        found[name] = {
            "images_per_second": {loop: statistics.median(values) for loop, values in rates.items()},
            "ours_over": {
                loop: {
                    "median": statistics.median(ratios := [a / b for a, b in zip(rates["ours"], values, strict=True)]),
                    "least": min(ratios),
                    "most": max(ratios),
                }
                for loop, values in rates.items()
                if loop != "ours"
            },
            "repeats": repeats,
        }
    return found


def accuracy(race: Race, name: str, seeds: int) -> Json:
    """Return the validation accuracies, in percent, that our loop and torchvision's come to, by seed."""
    found: Json = {}
    for loop in ("ours", "DataLoader"):
        reached = []
        for seed in range(seeds):
            net = race.net(name, seed)
            LOOPS[loop](race, net, seed)
            reached.append(evaluate(net, race.validation, race.meta, DEVICE)["accuracy"])
        found[loop] = {"mean": statistics.fmean(reached), "sd": statistics.stdev(reached), "seeds": reached}
    gap = found["ours"]["mean"] - found["DataLoader"]["mean"]
    error = math.sqrt(sum(found[loop]["sd"] ** 2 / seeds for loop in ("ours", "DataLoader")))
    return {**found, "ours_ahead": gap, "standard_error": error}
