from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from llmastool.errors import ConfigError
from llmastool.training.augment import crop, draw
from llmastool.training.data import load, load_meta
from llmastool.training.loop import Diverged, Entry, batches, evaluate, train
from llmastool.training.recipe import Recipe, TrainingConfig

CPU = torch.device("cpu")


def _net(seed: int = 0, width: int = 16) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.1),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, 10),
    )


def _train(data: Path, net: nn.Module, seed: int = 0, **recipe: Any) -> list[Entry]:
    keep = {k: recipe.pop(k) for k in ("checkpoint", "on_epoch") if k in recipe}
    return train(
        net,
        load(data, "train"),
        load(data, "validation"),
        load_meta(data),
        Recipe(**recipe),
        seed=seed,
        device=CPU,
        **keep,
    )


def _timeless(curve: list[Entry]) -> list[Entry]:
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in curve]


def _equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_a_small_network_learns_digits(digits: Path) -> None:
    net = _net()
    curve = _train(digits, net, epochs=6, batch_size=32)
    assert [entry["epoch"] for entry in curve] == [1, 2, 3, 4, 5, 6]
    assert curve[-1]["validation_accuracy"] > 90
    assert curve[-1]["train_loss"] < curve[0]["train_loss"] / 2
    test = evaluate(net, load(digits, "test"), load_meta(digits), CPU)
    assert test["accuracy"] > 90


def test_two_runs_agree_bit_for_bit_and_another_seed_does_not(few_digits: Path) -> None:
    nets = [_net(), _net(), _net()]
    # 120 images in batches of 12 are ten steps.
    curves = [_train(few_digits, net, seed, epochs=1, batch_size=12) for net, seed in zip(nets, (0, 0, 1), strict=True)]
    assert _timeless(curves[0]) == _timeless(curves[1])
    assert _equal(nets[0], nets[1])
    assert curves[0][0]["train_loss"] != curves[2][0]["train_loss"]


class _Stop(Exception):
    pass


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_resumed_run_ends_as_an_unbroken_one(few_digits: Path, tmp_path: Path, stop: int) -> None:
    fields: dict[str, Any] = {"epochs": 4, "warmup_epochs": 1, "label_smoothing": 0.1, "flip": True, "grad_clip": 1.0}
    whole = _net()
    expected = _train(few_digits, whole, **fields)

    def interrupt(entry: Entry) -> None:
        if entry["epoch"] == stop:
            raise _Stop

    with pytest.raises(_Stop):
        _train(few_digits, _net(), checkpoint=tmp_path / "c.pt", on_epoch=interrupt, **fields)
    torch.rand(7)  # what other code draws in between must not matter
    resumed, epochs = _net(seed=5), []
    curve = _train(
        few_digits, resumed, checkpoint=tmp_path / "c.pt", on_epoch=lambda e: epochs.append(int(e["epoch"])), **fields
    )
    assert epochs == list(range(stop + 1, 5))
    assert _timeless(curve) == _timeless(expected)
    assert _equal(resumed, whole)


def test_a_torn_or_foreign_checkpoint_is_as_none(few_digits: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    expected = _timeless(_train(few_digits, _net(), epochs=1, checkpoint=path))
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"no checkpoint"):
        path.write_bytes(broken)
        assert _timeless(_train(few_digits, _net(), epochs=1, checkpoint=path)) == expected
    _train(few_digits, _net(), seed=1, epochs=1, checkpoint=path)
    assert _timeless(_train(few_digits, _net(), epochs=1, checkpoint=path)) == expected


def test_divergence_says_where(few_digits: Path) -> None:
    with pytest.raises(Diverged, match=r"not finite in epoch 1, step [2-9]") as caught:
        _train(few_digits, _net(), epochs=2, lr=1e30, batch_size=12)
    assert caught.value.epoch == 1


def test_global_generators_are_given_back(few_digits: Path) -> None:
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    expected = torch.rand(4), random.random(), np.random.rand()
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10, bias=False))
    torch.manual_seed(3)
    _train(few_digits, net, epochs=1)
    assert torch.equal(torch.rand(4), expected[0])
    assert (random.random(), np.random.rand()) == expected[1:]


def test_evaluate_does_not_depend_on_the_batch(few_digits: Path) -> None:
    net = _net()
    data, meta = load(few_digits, "test"), load_meta(few_digits)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    found = [evaluate(net, data, meta, CPU, batch=size) for size in (1, 7, 512)]
    assert found[0]["accuracy"] == found[1]["accuracy"] == found[2]["accuracy"]
    assert found[0]["loss"] == pytest.approx(found[2]["loss"], rel=1e-5)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_only_a_last_batch_of_one_is_left_out() -> None:
    assert batches(10, 4) == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert batches(9, 4) == [slice(0, 4), slice(4, 8)]
    assert batches(3, 8) == [slice(0, 3)]


def test_crop_moves_and_mirrors() -> None:
    images = torch.arange(1, 13, dtype=torch.uint8).reshape(1, 1, 3, 4).repeat(4, 2, 1, 1)
    views = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 1, 0], [1, 2, 1]])
    same, mirrored, down, both = crop(images, views, padding=1)
    original = images[0]
    assert torch.equal(same, original)
    assert torch.equal(mirrored, original.flip(2))
    assert torch.equal(down[:, 1:], original[:, :2])
    assert not down[:, 0].any()
    shifted = torch.nn.functional.pad(original, (0, 1))[..., 1:]
    assert torch.equal(both, shifted.flip(2))


def test_draw_is_a_permutation_with_views_in_range() -> None:
    order, views = draw(1000, 2, True, seed=4)
    assert sorted(order.tolist()) == list(range(1000))
    assert views[:, :2].unique().tolist() == [0, 1, 2, 3, 4]
    assert 400 < int(views[:, 2].sum()) < 600
    assert not draw(1000, 2, False, seed=4)[1][:, 2].any()
    assert torch.equal(draw(1000, 2, False, seed=4)[0], order)


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    recipe = Recipe(epochs=10, lr=0.4, warmup_epochs=2)
    rates = [recipe.rate(step, 5) for step in range(51)]
    assert rates[:10] == pytest.approx([0.04 * i for i in range(1, 11)])
    assert rates[10] == pytest.approx(0.4)
    assert rates[30] == pytest.approx(0.2)
    assert rates[50] == pytest.approx(0.0)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


@pytest.mark.parametrize(
    "fields",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"momentum": 1.0},
        {"nesterov": True, "momentum": 0.0},
        {"label_smoothing": 1.0},
        {"crop_padding": -1},
        {"warmup_epochs": 3},
        {"grad_clip": -1.0},
        {"weight_decay": -1.0},
    ],
)
def test_recipe_out_of_range(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(fields))):
        Recipe(**{"epochs": 3, **fields})


@pytest.mark.parametrize("fields", [{"workers": 0}, {"seconds": 0.0}, {"memory_gb": -1.0}, {"device": "tpu"}])
def test_training_config_out_of_range(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(fields))):
        TrainingConfig(recipe=Recipe(epochs=1), **fields)


def test_a_loss_far_above_a_guess_is_a_divergence(few_digits: Path) -> None:
    """However finite it is; the training ends at once, not after all its epochs."""

    class Wild(nn.Module):
        """Is as sure as it is wrong, whatever it learns."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))
            self.steps = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.steps += 1
            logits = torch.zeros(len(x), 10)
            logits[torch.arange(len(x)), torch.randint(10, (len(x),))] = 60.0
            return logits * (1 + 0 * self.scale)

    net, meta = Wild(), load_meta(few_digits)
    recipe = Recipe(epochs=5, batch_size=2, lr=1e-6)
    with pytest.raises(
        Diverged, match=r"the loss is 5\d\.?\d* on average over 50 steps, 4 times a guess's, in epoch 1"
    ):
        train(net, load(few_digits, "train"), None, meta, recipe, seed=0, device=torch.device("cpu"))
    assert net.steps == 50


def test_bfloat16_learns_too(few_digits: Path) -> None:
    def last(precision: str) -> Entry:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        recipe = Recipe(epochs=4, batch_size=16, lr=0.1, precision=precision)  # type: ignore[arg-type]
        learn, validation = load(few_digits, "train"), load(few_digits, "validation")
        curve = train(net, learn, validation, load_meta(few_digits), recipe, seed=0, device=CPU)
        assert all(p.dtype == torch.float32 for p in net.parameters())
        return curve[-1]

    full, half = last("float32"), last("bfloat16")
    assert full["train_loss"] != half["train_loss"]
    assert full["train_loss"] == pytest.approx(half["train_loss"], rel=0.1)
    assert half["validation_accuracy"] > 60


def test_left_and_gone_on_with_it_ends_alike(few_digits: Path, tmp_path: Path) -> None:
    def run(*ends: int) -> list[Entry]:
        for end in ends:
            torch.manual_seed(0)
            net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
            curve = train(
                net,
                load(few_digits, "train"),
                load(few_digits, "validation"),
                load_meta(few_digits),
                Recipe(epochs=4, batch_size=16, lr=0.1),
                seed=0,
                device=torch.device("cpu"),
                checkpoint=tmp_path / f"{len(ends)}.pt",
                until=end,
            )
            assert len(curve) == end
        return [{k: v for k, v in entry.items() if k != "seconds"} for entry in curve]

    assert run(1, 2, 4) == run(4)
