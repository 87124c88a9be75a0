"""How the planner decides."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from llmastool.config import require
from llmastool.planner import archive
from llmastool.planner.model import PosteriorConfig
from llmastool.planner.objective import ObjectiveConfig


@dataclass(frozen=True, kw_only=True)
class PlannerConfig:
    """How the planner decides."""

    elites: int = 6
    """Trees that are edited in a round."""
    top: int = archive.TOP
    """So many of them are the best ones whatever they are like; the others are the best of other cells."""
    start: int = 0
    """Networks drawn anew before edits begin: the largest, then each time the one farthest from all before. The start
    population counts."""
    min_observations: int = 6
    """Trained trees before the posterior is used; until then plans are spread out."""
    quota: float = 0.25
    """Share of all plans, at most, that goes to families which had no fair trial yet, 0 to 1."""
    trials: int = 2
    """A family had its fair trial when so many networks that hold it were evaluated."""
    acquisition: Literal["improvement", "thompson"] = "improvement"
    """Expected improvement, or a draw from the posterior (of accuracy alone)."""
    per_second: bool = False
    """Whether an option's worth is divided by the seconds that its training is expected to take. Times differ from run
    to run, so a search that uses them can be resumed and replayed, but not repeated."""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    """What is to be improved."""
    posterior: PosteriorConfig = field(default_factory=PosteriorConfig)
    """How the posterior is computed."""

    def __post_init__(self) -> None:
        require(self.elites >= 1, "elites", "1 or more", self.elites)
        require(self.top >= 1, "top", "1 or more", self.top)
        require(self.start >= 0, "start", "0 or more", self.start)
        require(self.min_observations >= 2, "min_observations", "2 or more", self.min_observations)
        require(0 <= self.quota <= 1, "quota", "0 to 1", self.quota)
        require(self.trials >= 1, "trials", "1 or more", self.trials)
        known = self.acquisition in ("improvement", "thompson")
        require(known, "acquisition", "improvement or thompson", self.acquisition)
        plain = self.acquisition == "improvement" or self.objective.kind == "accuracy"
        require(plain, "acquisition", f"improvement for the objective {self.objective.kind}", self.acquisition)
