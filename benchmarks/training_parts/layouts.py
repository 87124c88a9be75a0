"""What it brings to have images and weights channels last: training steps of torchvision's networks, both ways."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch
import torchvision.models as zoo
from torch import nn

from llmastool.canonical import Json

BATCH, SIDE = 64, 32

NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "mobilenet_v2, a quarter as wide": lambda: zoo.mobilenet_v2(width_mult=0.25),
    "mobilenet_v3_small": zoo.mobilenet_v3_small,
    "mnasnet0_5": zoo.mnasnet0_5,
    "shufflenet_v2_x0_5": zoo.shufflenet_v2_x0_5,
    "squeezenet1_1": zoo.squeezenet1_1,
    "efficientnet_b0": zoo.efficientnet_b0,
    "regnet_y_400mf": zoo.regnet_y_400mf,
    "densenet, small": lambda: zoo.DenseNet(growth_rate=8, block_config=(2, 2, 2), num_init_features=16),
    "resnet, a block for each stage": lambda: zoo.ResNet(zoo.resnet.BasicBlock, [1, 1, 1, 1]),
    "convnext, small": lambda: zoo.ConvNeXt([zoo.convnext.CNBlockConfig(32, None, 2)]),
    "vit, small": lambda: zoo.VisionTransformer(SIDE, 4, 2, 2, 64, 128),
}
"""Kinds of networks, at sizes that a search on small images comes to."""


def compare(repeats: int) -> Json:
    """Return the milliseconds of a training step of each network, contiguous and channels last, in turns."""
    found: Json = {}
    for name, make in NETWORKS.items():
        times: dict[str, list[float]] = {"contiguous": [], "channels last": []}
        for repeat in range(repeats + 1):
            for layout, rows in times.items():
                form = torch.channels_last if layout == "channels last" else torch.contiguous_format
                milliseconds = 1000 * _step(make, form)
                if repeat:  # the first round warms up
                    rows.append(milliseconds)
        ratios = [a / b for a, b in zip(times["contiguous"], times["channels last"], strict=True)]
        found[name] = {
            **{layout: statistics.median(rows) for layout, rows in times.items()},
            "times_as_fast": {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)},
        }
    return {"batch": BATCH, "side": SIDE, "threads": torch.get_num_threads(), "repeats": repeats, "networks": found}


def _step(make: Callable[[], nn.Module], form: torch.memory_format) -> float:
    """Return the seconds of a forward and a backward pass in train mode, the second of two."""
    torch.manual_seed(0)
    net = make().train().to(memory_format=form)
    images = torch.randn(BATCH, 3, SIDE, SIDE).contiguous(memory_format=form)
    for _ in range(2):
        start = time.perf_counter()
        net(images).sum().backward()
        seconds = time.perf_counter() - start
    return seconds
