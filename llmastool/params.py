"""All parameters of the pipeline as one value, read strictly from `params.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from llmastool.config import from_mapping, require
from llmastool.filler.config import FillerConfig
from llmastool.final_config import FinalConfig
from llmastool.mining.sources import MiningConfig
from llmastool.planner.config import PlannerConfig
from llmastool.registry.pool import ProbeConfig
from llmastool.runner import RunnerConfig
from llmastool.search_config import SearchConfig
from llmastool.start_config import StartConfig
from llmastool.strict_yaml import read_yaml
from llmastool.training.data import DataConfig
from llmastool.training.recipe import Recipe, TrainingConfig
from llmastool.trees.budget import Budget

_CURE = "run from the folder that holds it, or name it with --params"


@dataclass(frozen=True, kw_only=True)
class Params:
    """What `params.yaml` holds. Every section is described beside the code that reads it."""

    seed: int = 0
    """Seed of everything that is random, 0 upwards."""
    data: DataConfig = field(default_factory=DataConfig)
    """The image set."""
    mining: MiningConfig
    """Where modules come from."""
    registry: ProbeConfig = field(default_factory=ProbeConfig)
    """How modules are probed."""
    start: StartConfig = field(default_factory=StartConfig)
    """The start population."""
    budget: Budget = field(default_factory=Budget)
    """How large a network may be."""
    search: SearchConfig = field(default_factory=SearchConfig)
    """How long the search runs."""
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    """How the next edits are chosen."""
    filler: FillerConfig = field(default_factory=FillerConfig)
    """Who settles what a plan leaves open."""
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    """Recipes by name; `training.recipe` and `final.recipe` may name one of them."""
    training: TrainingConfig
    """How a candidate is trained, and what it may use."""
    final: FinalConfig = field(default_factory=FinalConfig)
    """How the best are trained again and tested."""
    runner: RunnerConfig = field(default_factory=RunnerConfig)
    """Where the pipeline trains and probes."""

    def __post_init__(self) -> None:
        require(self.seed >= 0, "seed", "0 or more", self.seed)
        rungs, epochs = self.search.halving.rungs, self.training.recipe.epochs
        require(max(rungs, default=0) < epochs, "search.halving.rungs", f"numbers of epochs below {epochs}", rungs)

    @staticmethod
    def load(path: Path | str = "params.yaml") -> Params:
        """Read a file of parameters.

        Raises:
            ConfigError: the file is missing or no YAML (the message has the line), a key is unknown, missing or
                given twice, or a value is of the wrong type or out of range.
        """
        where = Path(path).stem
        return from_mapping(Params, _looked_up(read_yaml(Path(path), _CURE), where), where=where)


def _looked_up(value: object, where: str) -> object:
    """Return parameters with recipes in place of their names."""
    if not isinstance(value, Mapping):
        return value
    recipes, found = value.get("recipes") or {}, dict(value)
    for section in ("training", "final"):
        own = value.get(section)
        name = own.get("recipe") if isinstance(own, Mapping) else None
        if isinstance(own, Mapping) and isinstance(name, str):
            known = recipes if isinstance(recipes, Mapping) else {}
            require(name in known, f"{where}.{section}.recipe", f"one of recipes ({', '.join(known) or 'none'})", name)
            found[section] = {**own, "recipe": known[name]}
    return found
