"""A child takes over the weights of every module that the edit left alone, wherever it stands now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from llmastool.trees.diff import aligned
from llmastool.trees.tree import Tree, join

Origins = Mapping[str, str | None]
"""Old path by new path; None where something new stands. What lies below a path is found by the longest path above."""


def origins(old: Tree, new: Tree) -> Origins:
    """Return where the modules of a tree stood in the tree that it was made from."""
    return dict(_origins(old, new, "", ""))


def _origins(old: Tree, new: Tree, before: str, after: str) -> Iterator[tuple[str, str | None]]:
    if old == new:
        yield after, before
        return
    if (old.module, old.args) != (new.module, new.args):
        yield after, None
        kept = next(((p, before) for p, node in new.walk() if p and node == old), None)
        taken = next((("", p) for p, node in old.walk() if p and node == new), None)
        for below, above in filter(None, (kept, taken)):  # it was wrapped in something, or freed of it
            yield join(after, below), above if below else join(before, above)
        return
    yield after, before
    for left, right in aligned(old, new):
        if right is not None and left is not None:
            yield from _origins(left[1], right[1], join(before, left[0]), join(after, right[0]))
        elif right is not None:
            yield join(after, right[0]), None


def inherit(net: nn.Module, state: Mapping[str, torch.Tensor], origin: Origins) -> list[str]:
    """Give a network what it has of the state of the network that it was made from.

    Args:
        net: the child, with fresh weights.
        state: the parent's `state_dict`.
        origin: where its modules stood, from `origins`.

    Returns:
        Names of the parameters and buffers that were taken over, sorted.
    """
    taken = []
    with torch.no_grad():
        for name, value in net.state_dict().items():
            source = _source(name, origin)
            if source is not None and source in state and state[source].shape == value.shape:
                value.copy_(state[source])
                taken.append(name)
    return sorted(taken)


def _source(name: str, origin: Origins) -> str | None:
    """Return the name under which a parameter of the child is found in the parent; None where it is new."""
    parts = name.split(".")
    for cut in range(len(parts), -1, -1):
        path = ".".join(parts[:cut])
        if path in origin:
            before = origin[path]
            return join(before, ".".join(parts[cut:])) if before is not None else None
    return None
