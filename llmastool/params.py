"""All parameters of the pipeline as one value, read strictly from `params.yaml`."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from llmastool.config import from_mapping, require
from llmastool.errors import ConfigError
from llmastool.filler.config import FillerConfig
from llmastool.final import FinalConfig
from llmastool.mining.sources import MiningConfig
from llmastool.planner.planner import PlannerConfig
from llmastool.registry.register import RegistryConfig
from llmastool.search import SearchConfig
from llmastool.start import StartConfig
from llmastool.training.data import DataConfig
from llmastool.training.recipe import TrainingConfig
from llmastool.trees.gates import Budget


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
        return from_mapping(Params, _read_yaml(Path(path)), where=Path(path).stem)


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key that is given twice is an error instead of the last one's quiet win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> object:
    try:
        return yaml.load(path.read_text(), Loader=_StrictLoader)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; run from the folder that holds it, or name it with --params"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected text in UTF-8: {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: expected YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: expected YAML: {error}") from None
