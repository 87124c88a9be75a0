"""How the best networks are trained again and tested, as the parameters say it."""

from __future__ import annotations

from dataclasses import dataclass

from llmastool.config import require
from llmastool.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class FinalConfig:
    """How the best networks are trained again and tested."""

    top: int = 2
    """How many networks, the best by validation accuracy first, or where there is one by its estimate."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of their trainings."""
    recipe: Recipe | None = None
    """How they are trained; None as in the search."""
    epochs: int | None = None
    """Epochs of these trainings; None for those of the recipe."""

    def __post_init__(self) -> None:
        require(self.top >= 1, "top", "1 or more", self.top)
        require(bool(self.seeds), "seeds", "at least one seed", self.seeds)
        require(len(set(self.seeds)) == len(self.seeds), "seeds", "different seeds", self.seeds)
        require(self.epochs is None or self.epochs >= 1, "epochs", "1 or more", self.epochs)
