"""How long a search is, how wide it looks, and what decides in it, as the parameters say it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from llmastool.config import require
from llmastool.halving import HalvingConfig
from llmastool.planner.baselines.config import BaselinesConfig
from llmastool.training.proxies_config import ProxiesConfig

Name: TypeAlias = Literal["planner", "random", "evolution", "local", "largest"]
"""A strategy: the planner, or a baseline in its place (`llmastool.planner.baselines`)."""

MOST_PROCESSES = 16
"""Processes that build networks where none are asked for, at most: each takes some 100 MB."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How long the search is, how wide it looks, and what decides in it."""

    rounds: int = 3
    """Rounds of evolution after the start population, 0 upwards."""
    per_round: int = 8
    """Candidates in a round, 1 upwards."""
    strategy: Name = "planner"
    """What decides what is tried next."""
    pool: int = 96
    """Single edits that are built and shown to the strategy in a round, at most; `per_round` upwards."""
    doubles: int = 24
    """Pairs of edits, one after the other, that are built and shown to the planner in a round, 0 upwards."""
    fresh: int = 8
    """Networks drawn anew that are built and shown to the planner in a round, 0 upwards."""
    processes: int | None = None
    """Processes that build networks side by side between two rounds, 1 upwards; None takes one for every core, up to
    `MOST_PROCESSES`. The result does not depend on it. With `proxies` there is one."""
    ahead: bool = False
    """Whether a round is planned while the one before it trains, from what came of the rounds before that: devices do
    not wait for plans, and each plan knows a round less. Round 1 waits for the start population."""
    halving: HalvingConfig = field(default_factory=HalvingConfig)
    """Which trainings are stopped early, none by default."""
    proxies: ProxiesConfig = field(default_factory=ProxiesConfig)
    """Cheap proxies that are worked out before networks are chosen, none by default."""
    baselines: BaselinesConfig = field(default_factory=BaselinesConfig)
    """Settings of the other strategies."""

    def __post_init__(self) -> None:
        require(self.rounds >= 0, "rounds", "0 or more", self.rounds)
        require(self.per_round >= 1, "per_round", "1 or more", self.per_round)
        require(self.strategy in get_args(Name), "strategy", f"one of {', '.join(get_args(Name))}", self.strategy)
        require(self.pool >= self.per_round, "pool", f"at least per_round ({self.per_round})", self.pool)
        require(self.doubles >= 0, "doubles", "0 or more", self.doubles)
        require(self.fresh >= 0, "fresh", "0 or more", self.fresh)
        require(self.processes is None or self.processes >= 1, "processes", "1 or more, or null", self.processes)

    def builders(self) -> int:
        """Return how many processes build networks."""
        return self.processes or min(len(os.sched_getaffinity(0)), MOST_PROCESSES)
