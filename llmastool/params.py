"""All parameters of the pipeline as one value, read strictly from `params.yaml`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from llmastool.config import from_mapping, require
from llmastool.filler.config import FillerConfig
from llmastool.final import FinalConfig
from llmastool.mining.sources import MiningConfig
from llmastool.planner.config import PlannerConfig
from llmastool.registry.register import RegistryConfig
from llmastool.search import SearchConfig
from llmastool.start import StartConfig
from llmastool.strict_yaml import read_yaml
from llmastool.training.data import DataConfig
from llmastool.training.recipe import TrainingConfig
from llmastool.trees.gates import Budget

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
    registry: RegistryConfig = field(default_factory=RegistryConfig)
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
    training: TrainingConfig
    """How a candidate is trained, and what it may use."""
    final: FinalConfig = field(default_factory=FinalConfig)
    """How the best are trained again and tested."""

    def __post_init__(self) -> None:
        require(self.seed >= 0, "seed", "0 or more", self.seed)

    @staticmethod
    def load(path: Path | str = "params.yaml") -> Params:
        """Read a file of parameters.

        Raises:
            ConfigError: the file is missing or no YAML (the message has the line), a key is unknown, missing or
                given twice, or a value is of the wrong type or out of range.
        """
        return from_mapping(Params, read_yaml(Path(path), _CURE), where=Path(path).stem)
