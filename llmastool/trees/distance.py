"""How far two networks lie apart, by what they share of their subtrees: a kernel on subtree hashes.

A subtree counts at every height up to three, once with its arguments and once without, so that networks of the same
modules with other arguments lie close. With Weisfeiler and Lehman's relabelling (Shervashidze et al. 2011) on trees.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence

from llmastool.canonical import digest, dumps
from llmastool.trees.profile import Profile, Slot
from llmastool.trees.tree import ancestors

HEIGHT = 3
"""Largest height of the subtrees that are compared."""

Signature = Mapping[str, int]
"""How often every labelled subtree occurs in a network."""


def signature(profile: Profile) -> Signature:
    """Return a network's subtrees, and which follows which in a forward pass, each with its count."""
    found: Counter[str] = Counter()
    below: dict[str, list[Slot]] = {}
    paths = {slot.path for slot in profile.slots}
    for slot in profile.slots:
        below.setdefault(_above(slot.path, paths), []).append(slot)
    for exact in (False, True):
        labels = {slot.path: _label(slot, exact=exact) for slot in profile.slots}
        for height in range(HEIGHT + 1):
            found.update(f"{exact}{height}{label}" for label in labels.values())
            for row in below.values():
                pairs = itertools.pairwise(row)
                found.update(f"{exact}{height}{labels[a.path]}>{labels[b.path]}" for a, b in pairs)
            labels = {
                path: _grown(label, [labels[s.path] for s in below.get(path, ())]) for path, label in labels.items()
            }
    return found


def distance(a: Signature, b: Signature) -> float:
    """Return the distance of two networks: 0 for the same subtrees, 1 where they share none.

    It is one minus the cosine of the counts under a square root, so that what occurs often does not drown the rest.
    """
    both = _product(a, b)
    return max(0.0, 1.0 - both / math.sqrt(_product(a, a) * _product(b, b))) if both else 1.0


def _product(a: Signature, b: Signature) -> float:
    few, many = (a, b) if len(a) <= len(b) else (b, a)
    return sum(math.sqrt(count * many[label]) for label, count in few.items() if label in many)


def _label(slot: Slot, *, exact: bool) -> str:
    if not exact:
        return slot.module or "?"
    return digest([slot.module, dumps(dict(slot.args)) if slot.args is not None else None])[:16]


def _grown(label: str, children: Sequence[str]) -> str:
    return digest([label, list(children)])[:16] if children else label


def _above(path: str, paths: set[str]) -> str:
    """Return the path of the nearest slot above; empty for the network itself."""
    return next((p for p in ancestors(path) if p in paths), "")
