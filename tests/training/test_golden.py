"""Every recipe does what it did: ten steps of it, on every machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmastool.params import Params
from llmastool.training.recipe import Recipe
from tests.training.golden import GOLDEN, TOLERANCE, losses

RECIPES = Params.load(Path(__file__).resolve().parents[2] / "params.yaml").recipes


@pytest.mark.parametrize("name", RECIPES)
def test_ten_steps_of_every_recipe(name: str) -> None:
    found = losses(RECIPES[name])
    assert found == pytest.approx(GOLDEN[name], rel=TOLERANCE)
    assert losses(RECIPES[name]) == found, "to the last bit on one machine"


def test_the_recipe_of_nas_bench_201_is_to_the_letter() -> None:
    """Dong & Yang 2020, table 2 and `configs/nas-benchmark/CIFAR.config` of its code."""
    published = {"batch_size": 256, "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    for name, epochs in (("nb201", 200), ("nb201-12", 12)):
        recipe = RECIPES[name]
        assert recipe == Recipe(epochs=epochs, **published)  # type: ignore[arg-type]
        assert (recipe.padding(32), recipe.padding(16), recipe.flip) == (4, 2, None)
        assert recipe.rate(0, 98) == 0.1 and recipe.rate(98 * epochs // 2, 98) == pytest.approx(0.05)
        assert 0 < recipe.rate(98 * epochs - 1, 98) < 1e-4


def test_a_change_of_a_recipe_shows() -> None:
    """Of every field but the length, and the precision, which changes less than machines may differ by."""
    base = RECIPES["quick"].to_json()
    changed = {
        "lr": 0.05, "momentum": 0.8, "weight_decay": 0.05, "nesterov": False, "label_smoothing": 0.1,
        "crop_padding": 0, "flip": False, "warmup_epochs": 1, "grad_clip": 0.5,
    }  # fmt: skip
    assert set(base) - set(changed) == {"epochs", "batch_size", "precision"}
    for field, value in changed.items():
        found = losses(Recipe(**{**base, field: value}))
        assert found != pytest.approx(GOLDEN["quick"], rel=TOLERANCE), field
