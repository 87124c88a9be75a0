"""Settings of all baselines."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmastool.planner.baselines.evolution import EvolutionConfig
from llmastool.planner.baselines.largest_first import LargestFirstConfig
from llmastool.planner.baselines.local_search import LocalSearchConfig


@dataclass(frozen=True, kw_only=True)
class BaselinesConfig:
    """Settings of the baselines; each is read where `search.strategy` asks for its baseline."""

    evolution: EvolutionConfig = field(default_factory=EvolutionConfig)
    """Regularised evolution."""
    local: LocalSearchConfig = field(default_factory=LocalSearchConfig)
    """Local search."""
    largest: LargestFirstConfig = field(default_factory=LargestFirstConfig)
    """Largest first."""
