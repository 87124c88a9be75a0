"""Cheap proxies: numbers that a network has before it is trained, which may tell how well it will do.

Each costs one forward pass, or one forward and backward. How well they rank trained networks is measured
(`make bench-training`), not assumed.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from llmastool.modes import evaluating, training
from llmastool.training.proxies_config import NAMES, Name

IMAGES = 16
"""Images that a proxy is computed on."""

RUNS = 5
"""Runs over which a latency is taken."""


def proxies(net: nn.Module, images: Tensor, labels: Tensor, names: Sequence[Name] = NAMES) -> dict[str, float]:
    """Return proxies of a network, which is left as it is.

    Args:
        net: the network, on the device of `images`.
        images: as the network takes them, shape `(batch, channels, height, width)`.
        labels: int64 `(batch,)`.
        names: which ones.

    Returns:
        By name; one that is not finite is left out.
    """
    found = {name: PROXIES[name](copy.deepcopy(net), images, labels) for name in names}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def naswot(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return how differently units are switched on by different images (Mellor et al. 2021).

    It is the logarithm of the determinant of the matrix of how many units two images agree on.
    """
    del labels
    agree = torch.zeros(len(images), len(images), dtype=torch.float64, device=images.device)
    with torch.no_grad(), _Codes() as codes:
        training(net)(images)
    for inputs in codes.inputs:
        if len(inputs) == len(images):
            on = (inputs.flatten(1) > 0).double()
            agree += on @ on.T + (1 - on) @ (1 - on).T
    sign, log_det = torch.linalg.slogdet(agree)
    return float(log_det) if sign > 0 else math.nan


class _Codes(TorchFunctionMode):
    """Keeps what goes into activations, whether they are called as modules or as functions."""

    ACTIVATIONS = frozenset(
        getattr(functional, name)
        for name in (
            "relu",
            "relu_",
            "relu6",
            "leaky_relu",
            "gelu",
            "silu",
            "hardswish",
            "elu",
            "mish",
            "hardtanh",
            "selu",
            "prelu",
        )
    ) | {torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in self.ACTIVATIONS:
            self.inputs.append((args[0] if args else (kwargs or {})["input"]).clone())
        return func(*args, **(kwargs or {}))


def synflow(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the logarithm of what flows through all weights where these are positive (Tanaka et al. 2020).

    It looks at no image.
    """
    del labels
    net.double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_()
    ones = torch.ones_like(images[:1], dtype=torch.float64)
    flow = net(ones).sum()
    gradients = torch.autograd.grad(flow, list(net.parameters()), allow_unused=True)
    total = sum(
        float((p.detach() * g).abs().sum()) for p, g in zip(net.parameters(), gradients, strict=True) if g is not None
    )
    return math.log(total) if total > 0 else math.nan


def grad_norm(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the logarithm of the sum of the norms of all gradients of the loss (Abdelfattah et al. 2021)."""
    loss = functional.cross_entropy(training(net)(images), labels)
    gradients = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
    total = sum(float(g.norm()) for g in gradients if g is not None)
    return math.log(total) if total > 0 else math.nan


def latency(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the microseconds that an image takes in eval mode, in a batch like this one: the median of some runs.

    It is that of this machine now; of a network of the search on one CPU thread.
    """
    del labels
    evaluating(net)
    times = []
    with torch.no_grad():
        for _ in range(RUNS + 1):
            started = time.perf_counter()
            net(images)
            if images.device.type == "cuda":
                torch.cuda.synchronize(images.device)
            times.append(time.perf_counter() - started)
    # The first run warms up.
    return 1e6 * statistics.median(times[1:]) / len(images)


PROXIES: Mapping[Name, Callable[[nn.Module, Tensor, Tensor], float]] = {
    "naswot": naswot, "synflow": synflow, "grad_norm": grad_norm, "latency": latency,
}  # fmt: skip
