"""What the planner knows of a network, as named numbers in groups, whatever space the network comes from.

Nothing here is written for one search space: costs, families of modules and modules, where they stand, and which
follows or holds which. Only what the output depends on counts. Counts enter as `log(1 + count)`, costs as logarithms,
so that a step means the same at every size.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from llmastool.canonical import dumps
from llmastool.trees.flow import JOIN
from llmastool.trees.profile import Profile, Slot
from llmastool.trees.tree import ancestors

Features: TypeAlias = Mapping[str, Mapping[str, float]]
"""Named numbers by group; a name that is absent counts as 0."""

GROUPS = ("cost", "family", "module", "function", "stage", "motif")
"""The groups of features: what it costs, what is in it by family, by module and by what modules do, what stands where,
what follows."""

SIZES = ("parameters", "flops")
"""Costs, as `log(1 + size)`, of which it matters how many times they are those of other networks."""

UNKNOWN = "unknown"
"""Family of a module that no registry knows."""

LONGEST = 3
"""Modules of the longest chains that are counted, the ends of what they stand in included."""


def features(profile: Profile) -> dict[str, dict[str, float]]:
    """Describe a network by groups of named numbers.

    Args:
        profile: the network's slots and costs.

    Returns:
        For every group of `GROUPS` a mapping from name to value: `cost` (logarithms of sizes, of the number of ways and
        of their lengths in modules with weights, and `profile.extra`), `family` (counts by family of the leaf-most
        known modules), `module` (counts of all known modules, with those arguments that their channels do not decide),
        `function` (counts of what known modules do, in words),
        `stage` (families by stage), `motif` (which family holds which, and chains of modules along the flow, by family
        and by module). Counts are `log(1 + count)`.
    """
    live = _live(profile)
    leaves = leaf_most(live)
    labels = {slot.path: label(slot) for slot in live}
    families = {slot.path: _family(slot) for slot in live}
    by_family: Counter[str] = Counter()
    by_stage: Counter[str] = Counter()
    for slot in leaves:
        by_family[slot.family] += slot.calls
        by_stage[f"{slot.stage}:{slot.family}"] += slot.calls
    by_module = Counter(labels[slot.path] for slot in live if slot.family != UNKNOWN)
    by_function = Counter(word for slot in live if slot.family != UNKNOWN for word in slot.behaviour)
    motifs = Counter(f"{parent}/{child}" for parent, child in _nested(live))
    levels = _levels(profile)
    for names in (families, labels):
        motifs.update(">".join(chain) for level in levels.values() for chain in _chains(level, names))
    return {
        "cost": _cost(profile, live),
        "family": _log_counts(by_family),
        "module": _log_counts(by_module),
        "function": _log_counts(by_function),
        "stage": _log_counts(by_stage),
        "motif": _log_counts(motifs),
    }


def label(slot: Slot) -> str:
    """Return a module's id with those arguments that are no number of its channels: they say what kind it is."""
    shapes = (*(slot.in_shape or ()), *(slot.out_shape or ()))
    own = {k: v for k, v in (slot.args or {}).items() if isinstance(v, bool) or v not in shapes or v == 1}
    return f"{slot.module}{dumps(own)}" if own else slot.module


def _family(slot: Slot) -> str:
    return slot.family if slot.module != "torch.nn.Sequential" else "sequence"


def leaf_most(slots: Sequence[Slot]) -> list[Slot]:
    """Return the known slots below which no known slot lies, in call order."""
    known = [slot for slot in slots if slot.family != UNKNOWN]
    above = {ancestor for slot in known for ancestor in ancestors(slot.path)}
    return [slot for slot in known if slot.path not in above]


def _live(profile: Profile) -> list[Slot]:
    """Return the slots that lie on a way from the input to the output, or hold one that does; all if none is known."""
    if not profile.flow.nodes:
        return list(profile.slots)
    lowest = {profile.slots[i].path for i in profile.flow.nodes if i != JOIN}
    paths = lowest | {above for path in lowest for above in ancestors(path)}
    return [slot for slot in profile.slots if slot.path in paths]


def _nested(slots: Sequence[Slot]) -> list[tuple[str, str]]:
    """Pair every known slot's family with that of the nearest known slot above it."""
    families = {slot.path: _family(slot) for slot in slots if slot.family != UNKNOWN}
    pairs = []
    for path, family in families.items():
        parent = next((a for a in ancestors(path) if a in families), None)
        if parent is not None:
            pairs.append((families[parent], family))
    return pairs


Level: TypeAlias = set[tuple[str, str]]
"""Which parts of one module follow each other, by path; its input and output are `in` and `out`."""

_IN, _OUT = "in", "out"


def _levels(profile: Profile) -> dict[str, Level]:
    """Return the flow inside every module that holds others, each seen as a graph of the parts right below it."""
    paths = [slot.path for slot in profile.slots]
    known = set(paths)
    found: dict[str, Level] = {}
    for a, b in profile.flow.neighbours():
        giver = _line(paths[a], known) if a is not None else []
        reader = _line(paths[b], known) if b is not None else []
        shared = 0
        while shared < min(len(giver), len(reader)) - 1 and giver[shared] == reader[shared]:
            shared += 1
        around = giver[shared - 1] if shared else ""
        pair = (giver[shared] if giver else _IN, reader[shared] if reader else _OUT)
        if pair[0] != pair[1]:
            found.setdefault(around, set()).add(pair)
        for holder, part in zip(giver[shared:], giver[shared + 1 :], strict=False):
            found.setdefault(holder, set()).add((part, _OUT))
        for holder, part in zip(reader[shared:], reader[shared + 1 :], strict=False):
            found.setdefault(holder, set()).add((_IN, part))
    return found


def _line(path: str, known: set[str]) -> list[str]:
    """Return the paths of the slots that hold one, the outermost first, and its own."""
    return [*(a for a in reversed(list(ancestors(path))) if a in known and a), path]


def _chains(level: Level, names: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """Yield the names along every chain of two and of `LONGEST` parts."""
    after: dict[str, list[str]] = {}
    for a, b in level:
        after.setdefault(a, []).append(b)
    chains: Iterable[tuple[str, ...]] = level
    for length in range(2, LONGEST + 1):
        yield from (tuple(names.get(part, part) for part in chain) for chain in chains)
        if length < LONGEST:
            chains = [(*chain, part) for chain in chains for part in after.get(chain[-1], ())]


def live_parameters(profile: Profile) -> int:
    """Return the number of parameters on ways from the input to the output."""
    return profile.parameters - sum(slot.parameters for slot in _dead(profile, _live(profile)))


def _dead(profile: Profile, live: Sequence[Slot]) -> list[Slot]:
    """Return the lowest slots that lie on no way from the input to the output."""
    kept = {slot.path for slot in live}
    return [slot for slot in profile.slots if slot.leaf and slot.path not in kept]


def _cost(profile: Profile, live: Sequence[Slot]) -> dict[str, float]:
    dead = _dead(profile, live)
    ways = profile.flow.ways({i: float(slot.parameters > 0) for i, slot in enumerate(profile.slots)})
    known = bool(profile.flow.nodes)
    numbers = {
        "parameters": math.log1p(profile.parameters - sum(slot.parameters for slot in dead)),
        "flops": math.log1p(profile.flops - sum(slot.flops for slot in dead)),
        "depth": math.log1p(ways.longest if known else profile.depth),
        "shortest": math.log1p(ways.shortest if known else profile.depth),
        "mean": math.log1p(ways.mean if known else profile.depth),
        "ways": ways.log_number,
        "slots": math.log1p(len(live)),
        "downsampling": float(max((slot.stage for slot in live), default=0)),
        "resolution": _final_resolution(live),
    }
    numbers.update({f"extra:{name}": value for name, value in profile.extra.items() if math.isfinite(value)})
    return numbers


def _final_resolution(slots: Sequence[Slot]) -> float:
    """Return log2 of the side length, in pixels, of the last map or token grid that a module with weights reads."""
    for slot in reversed(slots):
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
