"""What the planner chooses from, and what it decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property

from llmastool.canonical import Json
from llmastool.trees.profile import Profile

FRESH = "fresh"
"""Kind of an option that is no edit but a whole network, drawn anew. It has no parent."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a strategy wants to choose from."""

    parents: tuple[str, ...] = ()
    """Ids of the trees whose edits are looked at, the one that matters most first."""
    edits: int = 0
    """How many single edits at most, over all parents; grafts between the parents are among them."""
    doubles: int = 0
    """How many pairs of edits, one after the other, at most."""
    fresh: int = 0
    """How many networks drawn anew, at most."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One coarse edit that holds at its slot, shown to the planner through one child that it can lead to."""

    parent: str
    """Id of the tree to edit; empty for a network drawn anew."""
    slot: str
    """Dotted path of the slot in that tree; empty for a network drawn anew."""
    kind: str
    """Kind of edit, see `llmastool.trees.edits.Kind`, or `FRESH`."""
    family: str
    """Family of the module that comes in or is changed, e.g. `convolution`; `none` for a deletion. Of a network drawn
    anew its dominant one."""
    profile: Profile
    """Profile of the child."""
    tree: str
    """Id of that child."""
    after: str = ""
    """The edit that is made before this one, settled in all; empty where there is none. Its slot may be new by it."""

    @cached_property
    def key(self) -> str:
        """The coarse plan's name, equal for options that differ only in what the filler settles."""
        if self.kind == FRESH:
            return f"{FRESH}/{self.tree}"
        return key(self.parent, self.after, self.slot, self.kind, self.family)


def key(parent: str, after: str, slot: str, kind: str, family: str) -> str:
    """Return the name of a coarse plan."""
    return "/".join((parent, *([after] if after else []), slot, kind, family))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The coarse decision: which parent, where, what kind of edit, which family of module; and why, in numbers."""

    parent: str
    slot: str
    kind: str
    family: str
    tree: str
    """Id of the child through which the option was shown. What the filler settles can lead to another one."""
    after: str = ""
    expected_gain: float = 0.0
    """Posterior mean of the child's validation accuracy minus the parent's (of a network drawn anew: minus the best
    one's), in percentage points."""
    spread: float = 0.0
    """Posterior standard deviation of the child's validation accuracy, in percentage points."""
    novelty: float = 0.0
    """Distance of the child's features to the nearest evaluated tree, 0 (seen) upwards."""
    reason: str
    """The rule that chose it: `expected improvement`, `diversity quota`, `no posterior yet`, or a baseline's name."""

    @staticmethod
    def of(option: Option, reason: str, *, gain: float = 0.0, spread: float = 0.0, novelty: float = 0.0) -> Plan:
        """Return the plan to do what an option offers."""
        return Plan(
            parent=option.parent,
            slot=option.slot,
            kind=option.kind,
            family=option.family,
            tree=option.tree,
            after=option.after,
            expected_gain=gain,
            spread=spread,
            novelty=novelty,
            reason=reason,
        )

    @property
    def key(self) -> str:
        """The key of the option."""
        if self.kind == FRESH:
            return f"{FRESH}/{self.tree}"
        return key(self.parent, self.after, self.slot, self.kind, self.family)

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
    """Validation accuracy in percent; None when the candidate fell at a gate, or was stopped on the way."""
    plan: Mapping[str, Json] | None
    """The plan that led to it (`Plan.to_json`); None for the start population."""
    partial: Mapping[float, float] = field(default_factory=dict)
    """Validation accuracies where candidates are compared before the end, in percent, by the share of the epochs."""
    seconds: float | None = None
    """Seconds of its training, where they are known and may be used in a decision."""
