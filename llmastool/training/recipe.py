"""The recipe every candidate is trained by, and how much of the machine a candidate may use."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal

from llmastool.canonical import Json
from llmastool.config import require


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """SGD with Nesterov momentum and a cosine schedule, as NAS-Bench-201 trains (Dong & Yang 2020)."""

    epochs: int
    """Passes over the training images, 1 upwards."""
    batch_size: int = 64
    """Images per step, 2 upwards."""
    lr: float = 0.1
    """Peak learning rate, above 0."""
    momentum: float = 0.9
    """Momentum of SGD, 0 (inclusive) to 1 (exclusive)."""
    weight_decay: float = 5e-4
    """L2 penalty on all parameters, 0 upwards."""
    nesterov: bool = True
    """Whether the momentum is Nesterov's; it needs a momentum above 0."""
    label_smoothing: float = 0.0
    """Share of the target spread over all classes, 0 (inclusive) to 1 (exclusive)."""
    crop_padding: int | None = None
    """Black pixels around an image before a random crop of its size; None is an eighth of the height, 0 no crop."""
    flip: bool | None = None
    """Whether half of the training images are mirrored; None leaves it to the data's meta."""
    warmup_epochs: int = 0
    """Epochs over which the learning rate rises to its peak, fewer than `epochs`."""
    grad_clip: float = 0.0
    """Largest norm of all gradients together; 0 clips nothing."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the forward pass while learning: `bfloat16` by autocast, which keeps weights and losses in float32."""

    def __post_init__(self) -> None:
        require(self.epochs >= 1, "epochs", "1 or more", self.epochs)
        require(self.batch_size >= 2, "batch_size", "2 or more, as batch norm needs", self.batch_size)
        require(0 < self.lr < math.inf, "lr", "a finite number above 0", self.lr)
        require(0 <= self.momentum < 1, "momentum", "0 <= momentum < 1", self.momentum)
        require(0 <= self.weight_decay < math.inf, "weight_decay", "a finite number from 0", self.weight_decay)
        require(not self.nesterov or self.momentum > 0, "nesterov", "false where momentum is 0", self.nesterov)
        require(0 <= self.label_smoothing < 1, "label_smoothing", "0 <= label_smoothing < 1", self.label_smoothing)
        require(self.crop_padding is None or self.crop_padding >= 0, "crop_padding", "0 or more", self.crop_padding)
        require(0 <= self.warmup_epochs < self.epochs, "warmup_epochs", "fewer than epochs", self.warmup_epochs)
        require(0 <= self.grad_clip < math.inf, "grad_clip", "a finite number from 0", self.grad_clip)
        require(self.precision in ("float32", "bfloat16"), "precision", "float32 or bfloat16", self.precision)

    def to_json(self) -> Json:
        """Return a JSON value; `Recipe(**value)` reads it back."""
        return asdict(self)

    def padding(self, height: int) -> int:
        """Return the border for random crops of images of this height, both in pixels."""
        return height // 8 if self.crop_padding is None else self.crop_padding

    def rate(self, step: int, per_epoch: int) -> float:
        """Return the learning rate of a step.

        Args:
            step: number of the step in the whole training, from 0.
            per_epoch: steps in an epoch.
        """
        warm, total = self.warmup_epochs * per_epoch, self.epochs * per_epoch
        if step < warm:
            return self.lr * (step + 1) / warm
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / (total - warm)))


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The recipe of the search, and what one candidate may use."""

    recipe: Recipe
    """How a candidate is trained."""
    workers: int = 2
    """Candidates trained at the same time, 1 upwards."""
    seconds: float = 300.0
    """Wall time of one candidate, start of its process included; above 0."""
    memory_gb: float = 4.0
    """Memory of one candidate in GiB, what PyTorch itself takes not counted; above 0. On a GPU, of its memory."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:<number>`, or `auto`: CUDA where there is one."""
    threads: int = 1
    """CPU threads of one candidate, 1 upwards; `workers` times as many are at work. Other numbers round otherwise."""
    compile: Literal["never", "auto"] = "never"
    """Whether networks are compiled: `auto` where that saves more than it costs, by the measured time of an epoch.
    Equal runs are then equal to within rounding only."""
    inherit: bool = False
    """Whether a candidate begins with the trained weights of its parent, in all modules that the edit left alone."""

    def __post_init__(self) -> None:
        require(self.workers >= 1, "workers", "1 or more", self.workers)
        require(0 < self.seconds < math.inf, "seconds", "a finite number above 0", self.seconds)
        require(0 < self.memory_gb < math.inf, "memory_gb", "a finite number above 0", self.memory_gb)
        require(self.threads >= 1, "threads", "1 or more", self.threads)
        require(self.compile in ("never", "auto"), "compile", "never or auto", self.compile)
        require_device(self.device)


def require_device(device: str) -> None:
    """Raise `ConfigError` unless `device` is one that training knows."""
    kind, _, number = device.partition(":")
    known = device in ("auto", "cpu", "cuda") or (kind == "cuda" and number.isdecimal())
    require(known, "device", "auto, cpu, cuda or cuda:<number>", device)
