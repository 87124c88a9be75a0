"""Which registered modules fit between two shapes. Remembered, since the slots of many networks share theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from llmastool.modes import quiet, training
from llmastool.registry.contract import Contract, solve
from llmastool.registry.patience import patience
from llmastool.registry.store import Entry
from llmastool.trees.adapters import convert, sequence
from llmastool.trees.axes import layout_of
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog
from llmastool.trees.profile import Layout, Shape
from llmastool.trees.tree import Tree

BLOCKS = "llmastool.blocks."
"""How the ids of our own modules start: ways to join and to change layout, of no use where nothing is in them."""

_PATIENCE = 0.5
"""CPU seconds in which a module has to change something; one that takes longer surely does."""


@dataclass(frozen=True)
class Fitting:
    """A registered module with arguments for two shapes."""

    entry: Entry
    contract: Contract
    node: Tree
    """The module, or a sequence of it and changes of layout around it."""


class Fits:
    """What a catalog's registry has for a pair of shapes."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._seen: dict[tuple[Shape, Shape], dict[str, list[Fitting]]] = {}
        self._idle: dict[tuple[str, Shape], bool] = {}
        registry = catalog.registry
        offered = [(e, _steady(e)) for e in registry.distinct if _is_of_use(e)] if registry is not None else []
        self._offered = [(entry, contracts) for entry, contracts in offered if contracts]

    def between(self, in_shape: Shape, out_shape: Shape) -> Mapping[str, list[Fitting]]:
        """Return, by family, every module that takes `in_shape` and gives `out_shape`, or what an adapter can make it.

        What is of no use in a network is left out: modules that change nothing at this shape, such as an upsampling to
        the size that there is, and those that still draw by chance in eval mode, as augmentations do.
        """
        key = (in_shape, out_shape)
        if key not in self._seen:
            found: dict[str, list[Fitting]] = {}
            frame = Frame(in_shape, out_shape)
            for entry, contracts in self._offered:
                fitting = self._fitting(entry, contracts, frame)
                if fitting is not None:
                    found.setdefault(entry.family, []).append(fitting)
            self._seen[key] = dict(sorted(found.items()))
        return self._seen[key]

    def _fitting(self, entry: Entry, contracts: Sequence[Contract], frame: Frame) -> Fitting | None:
        for contract in contracts:
            node = frame.fit(entry.module, contract)
            if node is not None:
                idle = contract.parameters == 0 and self._is_idle(node, frame.in_shape)
                return None if idle else Fitting(entry, contract, node)
        return None

    def _is_idle(self, node: Tree, in_shape: Shape) -> bool:
        key = (node.id, in_shape)
        if key not in self._idle:
            self._idle[key] = _changes_nothing(node, in_shape, self.catalog)
        return self._idle[key]


def _is_of_use(entry: Entry) -> bool:
    return entry.family != "identity" and not entry.module.startswith(BLOCKS)


def _steady(entry: Entry) -> list[Contract]:
    """Return the contracts with which a module stands in a network and gives the same each time."""
    return [c for c in entry.contracts if c.plain and c.deterministic]


class Frame:
    """Two shapes between which modules are to stand, and the changes of layout that lead to their layouts."""

    def __init__(self, in_shape: Shape, out_shape: Shape) -> None:
        self.in_shape, self.out_shape = in_shape, out_shape
        self._layouts = layout_of(in_shape), layout_of(out_shape)
        self._converted: dict[tuple[Shape, Layout, Layout], tuple[Shape, list[Tree]] | None] = {}

    def fit(self, module: str, contract: Contract) -> Tree | None:
        """Return a node of this module in the frame, layouts converted around it, or None where it does not fit.

        Where no arguments give `out_shape`, ones that keep the input's shape will do: an adapter has to follow.
        """
        layout_in, layout_out = self._layouts
        if layout_in is None or layout_out is None:
            return None
        entering = self._convert(self.in_shape, layout_in, contract.layout_in)
        wanted = self._convert(self.out_shape, layout_out, contract.layout_out)
        if entering is None:
            return None
        args = solve(contract, entering[0], wanted[0]) if wanted is not None else None
        given = wanted[0] if wanted is not None else entering[0]
        if args is None and contract.layout_in == contract.layout_out:
            args, given = solve(contract, entering[0], entering[0]), entering[0]
        leaving = self._convert(given, contract.layout_out, layout_out) if args is not None else None
        if args is None or leaving is None:
            return None
        return sequence([*entering[1], Tree(module, args), *leaving[1]])

    def _convert(self, shape: Shape, layout: Layout, to: Layout) -> tuple[Shape, list[Tree]] | None:
        key = (shape, layout, to)
        if key not in self._converted:
            self._converted[key] = convert(shape, layout, to)
        return self._converted[key]


def _changes_nothing(node: Tree, in_shape: Shape, catalog: Catalog) -> bool:
    """Return whether a node without weights passes a random input on as it is, in train mode too."""
    x = torch.randn(in_shape, generator=torch.Generator().manual_seed(0))
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), quiet(), patience(_PATIENCE):
            out = training(build(node, catalog))(x.clone())
    except Exception:  # noqa: BLE001 - mined code may raise anything; whether the node fits is seen when it is applied
        return False
    return isinstance(out, torch.Tensor) and torch.equal(out, x)
