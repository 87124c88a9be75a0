"""Which cheap proxies a search works out, and what they decide; free of PyTorch, as parameters are read without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from llmastool.config import require

Name: TypeAlias = Literal["naswot", "synflow", "grad_norm", "latency"]
NAMES: tuple[Name, ...] = get_args(Name)


@dataclass(frozen=True, kw_only=True)
class ProxiesConfig:
    """Which proxies of a network are worked out before it is chosen, and what they decide."""

    names: tuple[Name, ...] = ()
    """Proxies that the planner knows of every network, as covariates. A `latency` differs from run to run, and with it
    what is decided by it."""
    gate: Name | None = None
    """The proxy by which the worst of a round's options are left out; one of `names`."""
    drop: float = 0.25
    """Share of the options that is left out, where there is a gate, from 0 to below 1."""

    def __post_init__(self) -> None:
        wrong = [name for name in self.names if name not in NAMES]
        require(not wrong, "names", f"some of {', '.join(NAMES)}", self.names)
        require(self.gate is None or self.gate in self.names, "gate", "one of names, or null", self.gate)
        require(0 <= self.drop < 1, "drop", "a share from 0 to below 1", self.drop)
