"""Moves: every edit that a registry offers at the slots of a network, grouped by what the planner decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from llmastool.canonical import Json
from llmastool.registry.contract import Contract, solve
from llmastool.registry.store import Entry, Registry
from llmastool.trees.adapters import convert, sequence
from llmastool.trees.edits import Edit
from llmastool.trees.observe import Network, layout_of
from llmastool.trees.profile import Shape, Slot
from llmastool.trees.tree import Tree

_NO_BRANCH = ("activation", "affine", "identity", "normalisation", "regularisation", "reshape")
"""Families that are not worth a branch of their own beside a slot."""


@dataclass(frozen=True)
class Group:
    """A coarse choice at one network: a slot, a kind of edit, a family."""

    slot: str
    kind: str
    family: str
    """Family of what comes in; `none` for a deletion."""


@dataclass(frozen=True)
class Move:
    """One edit that should hold. That it does is settled by `edits.apply` and the gates."""

    edit: Edit
    entry: Entry | None
    """What comes in; None for a deletion, and for other arguments of a module that is not registered."""


def moves(network: Network, registry: Registry, rng: np.random.Generator) -> Mapping[Group, list[Move]]:
    """Return every move at a network, by group, in a fixed order.

    Args:
        network: what to edit.
        registry: what can come in.
        rng: draws the values of arguments that are free.
    """
    found: dict[Group, list[Move]] = {}
    fits = _Fits(registry)
    for slot in network.profile.slots:
        for group, move in _at(slot, registry, fits, rng):
            found.setdefault(group, []).append(move)
    return found


def _at(slot: Slot, registry: Registry, fits: _Fits, rng: np.random.Generator) -> Iterator[tuple[Group, Move]]:
    if slot.in_shape is None or slot.out_shape is None or slot.layout is None:
        return
    yield Group(slot.path, "delete", "none"), Move(Edit(kind="delete", path=slot.path), None)
    for entry, contract, node in fits.between(slot.in_shape, slot.out_shape):
        if entry.family != "identity" and node.module != slot.module:
            edit = Edit(kind="replace", path=slot.path, node=_varied(node, contract, rng))
            yield Group(slot.path, "replace", entry.family), Move(edit, entry)
    for entry, contract, node in fits.between(slot.out_shape, slot.out_shape):
        edit = Edit(kind="insert", path=slot.path, node=_varied(node, contract, rng))
        yield Group(slot.path, "insert", entry.family), Move(edit, entry)
    for entry, contract, node in fits.between(slot.in_shape, slot.out_shape):
        if entry.family not in _NO_BRANCH:
            edit = Edit(kind="insert", path=slot.path, node=_varied(node, contract, rng), where="parallel_sum")
            yield Group(slot.path, "insert", entry.family), Move(edit, entry)
    own = registry.entries.get(slot.module)
    if own is not None and slot.args is not None:
        for args in _other_args(own, slot):
            edit = Edit(kind="set_args", path=slot.path, args=args)
            yield Group(slot.path, "set_args", own.family), Move(edit, own)


class _Fits:
    """Which modules fit between two shapes; remembered, since many slots share theirs."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._seen: dict[tuple[Shape, Shape], list[tuple[Entry, Contract, Tree]]] = {}

    def between(self, in_shape: Shape, out_shape: Shape) -> list[tuple[Entry, Contract, Tree]]:
        """Return every module that takes `in_shape` and gives `out_shape`, or what an adapter can make of it."""
        key = (in_shape, out_shape)
        if key not in self._seen:
            found: dict[str, tuple[Entry, Contract, Tree]] = {}
            for entry in self.registry.distinct:
                for contract in (c for c in entry.contracts if c.plain):
                    node = fit(entry.module, contract, in_shape, out_shape)
                    if node is not None:
                        found.setdefault(entry.module, (entry, contract, node))
            self._seen[key] = [found[module] for module in sorted(found)]
        return self._seen[key]


def fit(module: str, contract: Contract, in_shape: Shape, out_shape: Shape) -> Tree | None:
    """Return a node of this module between two shapes, layouts converted around it, or None where it does not fit.

    Where no arguments give `out_shape`, ones that keep the input's shape will do: an adapter has to follow.
    """
    layout_in, layout_out = layout_of(in_shape), layout_of(out_shape)
    if layout_in is None or layout_out is None:
        return None
    entering = convert(in_shape, layout_in, contract.layout_in)
    wanted = convert(out_shape, layout_out, contract.layout_out)
    if entering is None:
        return None
    args = solve(contract, entering[0], wanted[0]) if wanted is not None else None
    given = wanted[0] if wanted is not None else entering[0]
    if args is None and contract.layout_in == contract.layout_out:
        args, given = solve(contract, entering[0], entering[0]), entering[0]
    leaving = convert(given, contract.layout_out, layout_out) if args is not None else None
    if args is None or leaving is None:
        return None
    return sequence([*entering[1], Tree(module, args), *leaving[1]])


def _varied(node: Tree, contract: Contract, rng: np.random.Generator) -> Tree:
    """Return the node with one free argument drawn anew, half of the time."""
    if not contract.free or rng.random() < 0.5:
        return node
    name = sorted(contract.free)[int(rng.integers(len(contract.free)))]
    values = contract.free[name]
    value = values[int(rng.integers(len(values)))]
    path, inner = next(
        (p, n) for p, n in node.walk() if n.module not in ("torch.nn.Sequential",) and not _is_adapter(n)
    )
    changed = Tree(inner.module, {**inner.args, name: value}, inner.children)
    return node.with_node(path, changed)


def _is_adapter(node: Tree) -> bool:
    return node.module.startswith("llmastool.blocks.")


def _other_args(entry: Entry, slot: Slot) -> Iterator[Mapping[str, Json]]:
    assert slot.args is not None
    contract = next((c for c in entry.contracts if c.plain and c.layout_in == slot.layout), None)
    for name, values in sorted((contract.free if contract is not None else {}).items()):
        for value in values:
            if slot.args.get(name, values[0]) != value:
                yield {name: value}
