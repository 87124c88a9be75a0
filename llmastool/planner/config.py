"""How the planner decides."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from llmastool.config import require
from llmastool.planner import archive
from llmastool.trees.profile import Profile


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """What is to be improved. A limit on size is no objective but a gate: see `budget`."""

    kind: Literal["accuracy", "price", "front"] = "accuracy"
    """Validation accuracy; validation accuracy less a price on cost; or all that no other network beats in both."""
    cost: str = "parameters"
    """What costs: `parameters`, `flops` (multiply-adds for one image), or a number of `Profile.extra`, as a latency."""
    price: float = 0.0
    """Percentage points for a million of the cost's units, 0 upwards; for `price` alone."""

    def __post_init__(self) -> None:
        require(self.kind in ("accuracy", "price", "front"), "kind", "accuracy, price or front", self.kind)
        require(bool(self.cost), "cost", "parameters, flops or the name of a measure", self.cost)
        require(0 <= self.price < float("inf"), "price", "a finite number from 0", self.price)

    def of(self, profile: Profile) -> float:
        """Return what a network costs; infinite where it was not measured."""
        if self.cost in ("parameters", "flops"):
            return float(getattr(profile, self.cost))
        return float(profile.extra.get(self.cost, float("inf")))

    def reward(self, accuracy: float, profile: Profile) -> float:
        """Return the number by which networks are ranked, in percentage points."""
        return accuracy - self.charge(profile)

    def charge(self, profile: Profile) -> float:
        """Return what a network's cost takes from its accuracy, in percentage points."""
        # What was not measured costs infinitely much, but nothing where nothing has a price.
        return self.price * self.of(profile) / 1e6 if self.kind == "price" and self.price else 0.0


@dataclass(frozen=True, kw_only=True)
class PosteriorConfig:
    """How the posterior is computed."""

    method: Literal["nuts", "fit"] = "nuts"
    """`nuts` draws from the posterior by PyMC's model; `fit` spreads over the normal distribution around its mode, in a
    fraction of the time and without the half minute that compiling the model takes once."""
    draws: int = 700
    """Draws kept per chain."""
    tune: int = 300
    """Draws per chain that tune the sampler and are thrown away."""
    chains: int = 4
    """Chains; 2 or more, without which convergence cannot be judged."""
    cores: int = 2
    """Chains run at the same time. The result does not depend on it."""
    thinned: int = 16
    """Draws over which predictions are averaged."""
    length: float = 1.0
    """Length scale of the Matern kernels, in units of distance; two networks lie about 1.4 apart."""
    most: int = 600
    """Observations that are looked at; of more, the better ones and an even choice of the others."""
    costs: bool = True
    """Whether what networks cost (size, depth, ways) is looked at."""
    functions: bool = False
    """Whether what modules do is looked at, too: for registries of which most modules are seen once, if at all."""

    def __post_init__(self) -> None:
        require(self.method in ("nuts", "fit"), "method", "nuts or fit", self.method)
        require(self.draws >= 50, "draws", "50 or more", self.draws)
        require(self.tune >= 50, "tune", "50 or more", self.tune)
        require(self.chains >= 2, "chains", "2 or more", self.chains)
        require(self.cores >= 1, "cores", "1 or more", self.cores)
        require(1 <= self.thinned <= self.draws * self.chains, "thinned", "1 to draws * chains", self.thinned)
        require(self.length > 0, "length", "more than 0", self.length)
        require(self.most >= 20, "most", "20 or more", self.most)


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
    """Trained trees before the posterior is used, those that were stopped included; until then plans are spread out."""
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
