"""What the planner chooses from, and what it decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from llmastool.canonical import Json
from llmastool.trees.profile import Profile


@dataclass(frozen=True, kw_only=True)
class Option:
    """One coarse edit that holds at its slot, shown to the planner through one child that it can lead to."""

    parent: str
    """Id of the tree to edit."""
    slot: str
    """Dotted path of the slot in that tree."""
    kind: str
    """Kind of edit; see `llmastool.trees.edits.Kind`."""
    family: str
    """Family of the module that comes in or is changed, e.g. `convolution`; `none` for a deletion."""
    profile: Profile
    """Profile of the child."""

    @property
    def key(self) -> str:
        """The coarse plan's name, equal for options that differ only in what the filler settles."""
        return f"{self.parent}/{self.slot}/{self.kind}/{self.family}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The coarse decision: which parent, where, what kind of edit, which family of module; and why, in numbers."""

    parent: str
    slot: str
    kind: str
    family: str
    expected_gain: float
    """Posterior mean of the child's validation accuracy minus the parent's, in percentage points."""
    spread: float
    """Posterior standard deviation of the child's validation accuracy, in percentage points."""
    novelty: float
    """Distance of the child's features to the nearest evaluated tree, 0 (seen) upwards."""
    reason: str
    """The rule that chose it: `expected improvement`, `diversity quota` or `no posterior yet`."""

    def to_json(self) -> Json:
        """Return a JSON value; `Plan(**value)` reads it back."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Record:
    """One evaluated candidate as the planner sees it."""

    tree: str
    """Id of the tree."""
    profile: Profile | None
    """None when the candidate fell before it could be profiled."""
    accuracy: float | None
    """Validation accuracy in percent; None when the candidate fell at a gate."""
    plan: Mapping[str, Json] | None
    """The plan that led to it (`Plan.to_json`); None for the start population."""
