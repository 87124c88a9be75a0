"""What differs between two trees, node by node."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from llmastool.trees.tree import Tree, join

Child = tuple[str, Tree]
"""A slot and what is stored there."""


@dataclass(frozen=True)
class Difference:
    """One place at which two trees differ, as deep down as it can be told."""

    path: str
    old: Tree | None
    """What is stored there in the first tree; None where nothing is."""
    new: Tree | None
    """What is stored there in the second."""


def differences(old: Tree, new: Tree) -> list[Difference]:
    """Return where two trees differ, in order. What only moved along in a sequence counts as moved in or out there."""
    return list(_differences(old, new, ""))


def aligned(old: Tree, new: Tree) -> Iterator[tuple[Child | None, Child | None]]:
    """Yield the children of two nodes of one module by pairs, in order; None where one has no counterpart.

    In a sequence, those correspond that are the same, at its ends first, and between these, one to one, as many as
    there are; elsewhere, those of one slot.
    """
    if not old.is_container:
        before, after = dict(old.children), dict(new.children)
        for slot in dict.fromkeys((*before, *after)):
            left = (slot, before[slot]) if slot in before else None
            yield left, (slot, after[slot]) if slot in after else None
        return
    a, b = ([child.id for _, child in node.children] for node in (old, new))
    least = min(len(a), len(b))
    head = next((i for i in range(least) if a[i] != b[i]), least)
    tail = next((i for i in range(least - head) if a[-1 - i] != b[-1 - i]), least - head)
    a, b = a[: len(a) - tail], b[: len(b) - tail]
    yield from zip(old.children[:head], new.children[:head], strict=True)
    for _, i, j, k, n in difflib.SequenceMatcher(None, a[head:], b[head:], autojunk=False).get_opcodes():
        yield from itertools.zip_longest(old.children[head + i : head + j], new.children[head + k : head + n])
    yield from zip(old.children[len(a) :], new.children[len(b) :], strict=True)


def _differences(old: Tree, new: Tree, path: str) -> Iterator[Difference]:
    if old == new:
        return
    if (old.module, old.args) != (new.module, new.args):
        yield Difference(path, old, new)
        return
    for left, right in aligned(old, new):
        slot = right[0] if right is not None else left[0] if left is not None else ""
        below = join(path, slot)
        if left is not None and right is not None:
            yield from _differences(left[1], right[1], below)
        else:
            yield Difference(below, left[1] if left is not None else None, right[1] if right is not None else None)
