"""The training loop: the same numbers whenever it is run with the same seed, stopped and resumed or not."""

from __future__ import annotations

import math
import pickle
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from llmastool.canonical import Json, digest
from llmastool.seeds import derive
from llmastool.training.augment import Normaliser, crop, draw
from llmastool.training.compiling import Choice, Compiler, Forward
from llmastool.training.layouts import fastest, laid, lay
from llmastool.training.recipe import Recipe
from llmastool.training.sgd import SGD

Data: TypeAlias = tuple[Tensor, Tensor]
"""Images uint8 `(n, C, H, W)` and labels int64 `(n,)`."""

Entry: TypeAlias = dict[str, float]
"""One epoch of a curve: `epoch` (from 1), `train_loss` (nats), `train_accuracy` (percent, on the augmented images
while they were learned from), `lr` (of the last step), `seconds`; with validation data, `validation_loss` and
`validation_accuracy`."""


FAR = 4.0
"""How many times the loss of a guess a training may lose on average, over the last `PATIENCE` steps of an epoch."""

PATIENCE = 50
"""Steps over which the loss is averaged to see whether a training diverged."""

STATE_VERSION = 2
"""Of what a checkpoint holds. One of another version is as none."""


class Diverged(ArithmeticError):  # noqa: N818 - what happened, as a name for it
    """The loss is no finite number any more, or far above that of a guess."""

    def __init__(self, epoch: int, step: int | None, what: str = "the loss is not finite") -> None:
        """Say where: epoch from 1, step within it from 1, or None when it showed in an evaluation after the epoch."""
        self.epoch, self.step = epoch, step
        where = f"epoch {epoch}, step {step}" if step is not None else f"the evaluation after epoch {epoch}"
        super().__init__(f"{what} in {where}")


def train(
    net: nn.Module,
    train_data: Data,
    validation_data: Data | None,
    meta: Mapping[str, Json],
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Entry], None] | None = None,
    until: int | None = None,
    compiler: Compiler | None = None,
) -> list[Entry]:
    """Train `net` in place and return its curve, one entry per epoch.

    While it runs, the loop owns the global random generators of torch, NumPy and Python, as dropout and foreign
    modules draw from them: each epoch starts them anew, and what they were before is restored at the end.

    Args:
        net: maps float `(n, C, H, W)` to logits `(n, classes)`; it is moved to `device`.
        train_data: images and labels to learn from. A last batch of one image is left out: batch norm cannot take it.
        validation_data: images and labels to evaluate on after each epoch; None for none.
        meta: the prepared folder's meta; `mean`, `std` and `flip` are read.
        recipe: how to train.
        seed: seed of order, augmentation and dropout. The weights are drawn by whoever built `net`.
        device: where to train; the images are moved there once.
        checkpoint: file that holds the state after the last whole epoch. If it is there, and of the same training,
            the training goes on from it and ends with the same numbers. State that a module keeps outside its
            `state_dict` is lost in between.
        on_epoch: called with each new entry, after the checkpoint is written.
        until: epoch after which the training is left; None trains all of the recipe's.
        compiler: compiles the network where that pays; None does not. Compiled sums are rounded otherwise, and when it
            is done depends on times, so that a training is then repeated to within rounding only.

    Raises:
        Diverged: a loss is not finite, or has long been far above that of a guess.
    """
    net.to(device)
    images, labels = (t.to(device) for t in train_data)
    layout = fastest(net, Normaliser.of(meta, device)(images[:2]), meta["classes"])
    lay(net, layout)
    validation = None if validation_data is None else (validation_data[0].to(device), validation_data[1].to(device))
    optimiser = SGD(
        net.parameters(), momentum=recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.nesterov
    )
    run = digest([STATE_VERSION, recipe.to_json(), seed, len(images), meta.get("digest")])
    curve = _resume(checkpoint, net, optimiser, run) if checkpoint else []
    choice = Choice(net, compiler)
    with _global_generators(device):
        for epoch in range(len(curve), recipe.epochs if until is None else until):
            start = time.perf_counter()
            seed_generators(derive(seed, "epoch", epoch, "modules"))
            entry = _train_epoch(
                net,
                optimiser,
                (images, labels),
                meta,
                recipe,
                seed=seed,
                epoch=epoch,
                forward=choice.forward,
                layout=layout,
            )
            choice.took(time.perf_counter() - start, recipe.epochs - epoch - 1)
            if validation is not None:
                found = evaluate(net, validation, meta, device, layout=layout)
                entry |= {f"validation_{name}": value for name, value in found.items()}
                if not math.isfinite(found["loss"]):
                    raise Diverged(epoch + 1, None)
            curve.append({**entry, "seconds": round(time.perf_counter() - start, 3)})
            if checkpoint:
                _save(checkpoint, net, optimiser, run, curve)
            if on_epoch:
                on_epoch(curve[-1])
    lay(net, torch.contiguous_format)
    return curve


def evaluate(
    net: nn.Module,
    data: Data,
    meta: Mapping[str, Json],
    device: torch.device,
    batch: int = 512,
    layout: torch.memory_format = torch.contiguous_format,
) -> dict[str, float]:
    """Return `accuracy` in percent and `loss`, the mean cross-entropy in nats, of `net` in eval mode.

    Images are given to it in the layout in memory that it has.

    A loss that is not finite is returned as it is.
    """
    net.eval()
    normalise = Normaliser.of(meta, device)
    correct, loss = torch.zeros((), dtype=torch.int64, device=device), torch.zeros((), device=device)
    # Not `inference_mode`: a module that keeps a tensor made here, say a position grid, could not train with it.
    with torch.no_grad():
        for images, labels in zip(data[0].split(batch), data[1].split(batch), strict=True):
            labels = labels.to(device)
            logits = net(laid(normalise(images.to(device)), layout))
            correct += (logits.argmax(1) == labels).sum()
            loss += nn.functional.cross_entropy(logits, labels, reduction="sum")
    count = len(data[1])
    return {"accuracy": 100.0 * int(correct) / count, "loss": float(loss) / count}


def batches(count: int, size: int) -> list[slice]:
    """Return the batches of `count` images as slices of their order; a last batch of one image is left out."""
    ends = [min(start + size, count) for start in range(0, count, size)]
    return [slice(start, end) for start, end in zip(range(0, count, size), ends, strict=True) if end - start > 1]


def _train_epoch(
    net: nn.Module,
    optimiser: SGD,
    data: Data,
    meta: Mapping[str, Json],
    recipe: Recipe,
    *,
    seed: int,
    epoch: int,
    forward: Forward,
    layout: torch.memory_format,
) -> Entry:
    net.train()
    images, labels = data
    device = images.device
    normalise = Normaliser.of(meta, device)
    padding = recipe.padding(images.shape[2])
    mirror = bool(meta["flip"]) if recipe.flip is None else recipe.flip
    order, views = (t.to(device) for t in draw(len(images), padding, mirror, derive(seed, "epoch", epoch, "order")))
    steps = batches(len(images), recipe.batch_size)
    correct, seen, rate = torch.zeros((), dtype=torch.int64, device=device), 0, 0.0
    losses = _Losses(epoch, math.log(meta["classes"]), device)
    for step, rows in enumerate(steps):
        rate = recipe.rate(epoch * len(steps) + step, len(steps))
        picked = order[rows]
        target = labels[picked]
        batch = laid(normalise(crop(images[picked], views[rows], padding)), layout)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            logits = forward(batch)
            loss = nn.functional.cross_entropy(logits, target, label_smoothing=recipe.label_smoothing)
        losses.add(loss.detach(), len(target))
        optimiser.zero_grad()
        loss.backward()
        if recipe.grad_clip:
            nn.utils.clip_grad_norm_(net.parameters(), recipe.grad_clip)
        optimiser.step(rate)
        correct += (logits.detach().argmax(1) == target).sum()
        seen += len(target)
    accuracy = 100.0 * int(correct) / seen
    return {"epoch": epoch + 1, "train_loss": losses.mean(), "train_accuracy": accuracy, "lr": rate}


class _Losses:
    """The losses of an epoch's steps, looked at as they come; on a GPU now and then, so that it need not wait."""

    def __init__(self, epoch: int, guess: float, device: torch.device) -> None:
        self._epoch, self._far = epoch, FAR * guess
        self._every = 1 if device.type == "cpu" else PATIENCE
        self._waiting: list[Tensor] = []
        self._counts: list[int] = []
        self._seen: list[float] = []

    def add(self, loss: Tensor, count: int) -> None:
        """Take in the mean loss of a step over so many images.

        Raises:
            Diverged: it, or one of the last ones, is not finite, or they are far too high.
        """
        self._waiting.append(loss)
        self._counts.append(count)
        if len(self._waiting) == self._every:
            self._look()

    def mean(self) -> float:
        """Return the mean over all images.

        Raises:
            Diverged: as `add`.
        """
        self._look()
        return sum(loss * count for loss, count in zip(self._seen, self._counts, strict=True)) / sum(self._counts)

    def _look(self) -> None:
        for loss in torch.stack(self._waiting).tolist() if self._waiting else []:
            self._seen.append(loss)
            if not math.isfinite(loss):
                raise Diverged(self._epoch + 1, len(self._seen))
        self._waiting = []
        last = self._seen[-PATIENCE:]
        if len(last) == PATIENCE and sum(last) / PATIENCE > self._far:
            what = f"the loss is {sum(last) / PATIENCE:.3g} on average over {PATIENCE} steps, {FAR:g} times a guess's,"
            raise Diverged(self._epoch + 1, len(self._seen), what)


@contextmanager
def _global_generators(device: torch.device) -> Iterator[None]:
    """Restore the global generators of Python, NumPy and torch at the end."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def seed_generators(seed: int) -> None:
    """Start the global generators of torch, NumPy and Python anew. For processes of their own, and for the loop."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def _save(path: Path, net: nn.Module, optimiser: SGD, run: str, curve: list[Entry]) -> None:
    """Write the state after an epoch: whole, or not at all.

    Raises:
        OSError: the disk is full.
    """
    state = {"run": run, "model": net.state_dict(), "momentum": optimiser.buffers, "curve": curve}
    fresh = path.with_name(f"{path.name}.new")
    try:
        with fresh.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):  # torch covers a full disk with an error of its own
            raise error.__context__ from None
        raise
    fresh.replace(path)


def _resume(path: Path, net: nn.Module, optimiser: SGD, run: str) -> list[Entry]:
    """Load the state of an earlier start of this training; one that is missing, torn or another's is as none."""
    if not path.exists():
        return []
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError):
        return []
    if not isinstance(state, dict) or state.get("run") != run:
        return []
    net.load_state_dict(state["model"])
    optimiser.buffers = list(state["momentum"])
    return list(state["curve"])
