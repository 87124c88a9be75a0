"""What the planner knows of a network, as named numbers in four groups, whatever space the network comes from.

Nothing here is written for one search space: costs, families of modules, where they stand, and which follows or
holds which. Counts enter as `log(1 + count)`, costs as logarithms, so that a step means the same at every size.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from llmastool.trees.profile import Profile, Slot
from llmastool.trees.tree import ancestors

Features: TypeAlias = Mapping[str, Mapping[str, float]]
"""Named numbers by group; a name that is absent counts as 0."""

GROUPS = ("cost", "family", "stage", "motif")
"""The groups of features: what it costs, what is in it, what stands where, what follows or holds what."""

UNKNOWN = "unknown"
"""Family of a module that no registry knows."""


def features(profile: Profile) -> dict[str, dict[str, float]]:
    """Describe a network by groups of named numbers.

    Args:
        profile: the network's slots and costs.

    Returns:
        For every group of `GROUPS` a mapping from name to value: `cost` (logarithms of sizes, and `profile.extra`),
        `family` (counts by family of the leaf-most known modules), `stage` (the same by stage), `motif` (ordered
        neighbour pairs of these, and parent-child pairs of known modules). Counts are `log(1 + count)`.
    """
    leaves = leaf_most(profile.slots)
    by_family: Counter[str] = Counter()
    by_stage: Counter[str] = Counter()
    for slot in leaves:
        by_family[slot.family] += slot.calls
        by_stage[f"{slot.stage}:{slot.family}"] += slot.calls
    motifs = Counter(f"{a.family}>{b.family}" for a, b in itertools.pairwise(leaves))
    motifs.update(f"{parent}/{child}" for parent, child in _nested(profile.slots))
    return {
        "cost": _cost(profile),
        "family": _log_counts(by_family),
        "stage": _log_counts(by_stage),
        "motif": _log_counts(motifs),
    }


def leaf_most(slots: Sequence[Slot]) -> list[Slot]:
    """Return the known slots below which no known slot lies, in call order."""
    known = [slot for slot in slots if slot.family != UNKNOWN]
    above = {ancestor for slot in known for ancestor in ancestors(slot.path)}
    return [slot for slot in known if slot.path not in above]


def _nested(slots: Sequence[Slot]) -> list[tuple[str, str]]:
    """Pair every known slot's family with that of the nearest known slot above it."""
    families = {slot.path: slot.family for slot in slots if slot.family != UNKNOWN}
    pairs = []
    for path, family in families.items():
        parent = next((a for a in ancestors(path) if a in families), None)
        if parent is not None:
            pairs.append((families[parent], family))
    return pairs


def _cost(profile: Profile) -> dict[str, float]:
    numbers = {
        "parameters": math.log10(1 + profile.parameters),
        "flops": math.log10(1 + profile.flops),
        "depth": math.log1p(profile.depth),
        "slots": math.log1p(len(profile.slots)),
        "downsampling": float(max((slot.stage for slot in profile.slots), default=0)),
        "resolution": _final_resolution(profile),
    }
    numbers.update({f"extra:{name}": value for name, value in profile.extra.items() if math.isfinite(value)})
    return numbers


def _final_resolution(profile: Profile) -> float:
    """Return log2 of the side length, in pixels, of the last map or token grid that a module with weights reads."""
    for slot in reversed(profile.slots):
        positions = _positions(slot)
        if slot.parameters and positions > 1:
            return math.log2(positions) / 2
    return 0.0


def _positions(slot: Slot) -> int:
    shape = slot.in_shape
    if shape is None:
        return 0
    if slot.layout == "NCHW" and len(shape) == 4:
        return shape[2] * shape[3]
    if slot.layout == "NHWC" and len(shape) == 4:
        return shape[1] * shape[2]
    return shape[1] if slot.layout == "BNC" and len(shape) == 3 else 0


def _log_counts(counts: Counter[str]) -> dict[str, float]:
    return {name: math.log1p(count) for name, count in sorted(counts.items())}
