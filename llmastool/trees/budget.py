"""How large a network may be, and what falls at a gate. Nothing is built or run here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from llmastool.config import require
from llmastool.errors import LLMasToolError
from llmastool.outcome import Gate
from llmastool.trees.profile import Profile


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How large a network may be."""

    parameters: int = 2_000_000
    """Most parameters."""
    flops: int = 100_000_000
    """Most multiply-adds for one image."""
    growth: float | None = None
    """Most multiply-adds, in times those of the costliest network of the start population, 1 upwards; None for no such
    limit. It holds for what is made of these networks, whatever the size of the images."""

    def __post_init__(self) -> None:
        require(self.parameters > 0, "parameters", "more than 0", self.parameters)
        require(self.flops > 0, "flops", "more than 0", self.flops)
        require(self.growth is None or self.growth >= 1, "growth", "1 or more, or null", self.growth)

    def grown_from(self, costs: Iterable[int]) -> Budget:
        """Return the budget of what is made of networks that take so many multiply-adds each."""
        costliest = max(costs, default=0)
        if self.growth is None or not costliest:
            return self
        return replace(self, flops=min(self.flops, int(self.growth * costliest)))


class Fell(LLMasToolError):  # noqa: N818 - a result, not a fault of the program
    """A tree fell at a gate."""

    def __init__(self, gate: Gate, message: str) -> None:
        super().__init__(message)
        self.gate = gate


def check_profile(profile: Profile, classes: int, budget: Budget) -> None:
    """Check a network's output and size.

    Raises:
        Fell: at `shape` or `budget`.
    """
    expected = (profile.in_shape[0], classes)
    if profile.out_shape != expected:
        raise Fell("shape", f"expected an output of shape {expected}, got {profile.out_shape}")
    for name, limit in (("parameters", budget.parameters), ("flops", budget.flops)):
        value = getattr(profile, name)
        if value > limit:
            raise Fell("budget", f"expected at most {limit:,} {name}, got {value:,}")
    if profile.parameters == 0:
        raise Fell("budget", "the network has no parameters to train")
