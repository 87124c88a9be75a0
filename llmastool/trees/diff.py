"""What differs between two trees, node by node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llmastool.trees.tree import Tree


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


def _differences(old: Tree, new: Tree, path: str) -> Iterator[Difference]:
    if old == new:
        return
    if (old.module, old.args) != (new.module, new.args):
        yield Difference(path, old, new)
        return
    before, after = dict(old.children), dict(new.children)
    if old.is_container and list(before) != list(after):
        yield from _in_row(old, new, path)
        return
    for slot in dict.fromkeys((*before, *after)):
        below = f"{path}.{slot}" if path else slot
        left, right = before.get(slot), after.get(slot)
        if left is not None and right is not None:
            yield from _differences(left, right, below)
        else:
            yield Difference(below, left, right)


def _in_row(old: Tree, new: Tree, path: str) -> Iterator[Difference]:
    """Yield the children that came and went, those at either end that are the same left aside."""
    before, after = [c for _, c in old.children], [c for _, c in new.children]
    head = 0
    while head < min(len(before), len(after)) and before[head] == after[head]:
        head += 1
    tail = 0
    while tail < min(len(before), len(after)) - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    gone = old.children[head : len(before) - tail]
    come = new.children[head : len(after) - tail]
    for i in range(max(len(gone), len(come))):
        left, right = (row[i] if i < len(row) else None for row in (gone, come))
        slot = right[0] if right is not None else left[0] if left is not None else ""
        below = f"{path}.{slot}" if path else slot
        if left is not None and right is not None:
            yield from _differences(left[1], right[1], below)
        else:
            yield Difference(below, left[1] if left is not None else None, right[1] if right is not None else None)
