"""What can be tried at one slot of a network: for every kind of edit the families it can bring in, and the moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from typing import TypeAlias

import numpy as np

from llmastool.canonical import Json
from llmastool.registry.contract import Contract
from llmastool.registry.store import Entry
from llmastool.trees.adapters import Style
from llmastool.trees.axes import channels_of, layout_of, sizes_of
from llmastool.trees.donors import Donor, Donors
from llmastool.trees.edits import Edit, Where
from llmastool.trees.fits import BLOCKS, Fits, Fitting
from llmastool.trees.insertion import CONCAT, GATED, RESIDUAL, around, concat_args
from llmastool.trees.observe import Network
from llmastool.trees.profile import Shape, Slot
from llmastool.trees.stages import ROWS
from llmastool.trees.tree import Tree, join

_PLAIN = ("activation", "affine", "identity", "normalisation", "regularisation", "reshape")
"""Families that are not worth a branch of their own, nor a way around them."""

_FACTORS = ("1/2", "2/3", "3/4", "4/3", "3/2", "2")
"""By how much a stage is made wider or narrower."""

_WRAPPERS: Mapping[str, tuple[str, str]] = {
    "residual block": (RESIDUAL, "body"), "gating": (GATED, "body"), "dense": (CONCAT, "body"),
}  # fmt: skip
"""What a module can be wrapped in, and the slot that takes it, by the family that comes of it."""


@dataclass(frozen=True)
class Move:
    """One edit that should hold. That it does is settled by `edits.apply` and the gates."""

    edit: Edit
    entry: Entry | None
    """The registered module that comes in, or gets other arguments; None where there is none."""
    free: Mapping[str, tuple[Json, ...]] = field(default_factory=dict)
    """Arguments of what comes in that are free, with the values that are known to work, the one that it has first."""

    def with_argument(self, name: str, value: Json) -> Move:
        """Return the same move with another value of a free argument."""
        assert self.edit.node is not None, "only what comes in has free arguments"
        return replace(self, edit=replace(self.edit, node=_with(self.edit.node, {name: value})))

    def with_adapter(self, style: Style) -> Move:
        """Return the same move with another adapter behind it."""
        return replace(self, edit=replace(self.edit, adapter=style))


Draw: TypeAlias = Callable[[np.random.Generator], Move | None]
"""Makes a move, with what is free in it drawn; None where it turns out that there is none."""


@dataclass(frozen=True)
class Here:
    """A slot that takes one tensor and gives one, and what could come in."""

    network: Network
    slot: Slot
    in_shape: Shape
    out_shape: Shape
    fits: Fits
    donors: Donors

    @property
    def path(self) -> str:
        """Path of the slot."""
        return self.slot.path

    @property
    def own(self) -> Entry | None:
        """The registered module that stands there."""
        return self.entry(self.slot)

    def entry(self, slot: Slot) -> Entry | None:
        """Return the registered module that stands in a slot."""
        registry = self.network.catalog.registry
        return registry.entries.get(slot.module) if registry is not None else None

    @property
    def neighbours(self) -> tuple[Slot | None, Slot | None]:
        """The slots before and after it in the sequence that it is in; None where there is none."""
        above, parent, name = around(self.network.tree, self.path)
        if parent is None or parent.module != "torch.nn.Sequential":
            return None, None
        row = [slot for slot, _ in parent.children]
        at = row.index(name)
        paths = [row[i] if 0 <= i < len(row) else None for i in (at - 1, at + 1)]
        before, after = (self.network.slots.get(join(above, p)) if p else None for p in paths)
        return before, after


def _fixed(entry: Entry | None, edit: Edit) -> Draw:
    return lambda _: Move(edit, entry)


def _own(here: Here) -> tuple[str, ...]:
    return (here.slot.family,)


def _deletable(here: Here) -> tuple[str, ...]:
    return ("none",) if here.slot.module != "torch.nn.Identity" else ()


def _deletions(here: Here, _: str) -> list[Draw]:
    return [_fixed(None, Edit(kind="delete", path=here.path))]


def _replaceable(here: Here) -> Iterator[str]:
    for family, found in here.fits.between(here.in_shape, here.out_shape).items():
        if any(f.entry.module != here.slot.module for f in found):
            yield family


def _replacements(here: Here, family: str) -> list[Draw]:
    found = here.fits.between(here.in_shape, here.out_shape)[family]
    edit = partial(Edit, kind="replace", path=here.path)
    return [partial(_bring, edit, f) for f in found if f.entry.module != here.slot.module]


def _insertable(here: Here) -> list[str]:
    behind = here.fits.between(here.out_shape, here.out_shape)
    beside = here.fits.between(here.in_shape, here.out_shape)
    return sorted({*behind, *(family for family in beside if family not in _PLAIN)})


def _insertions(here: Here, family: str) -> list[Draw]:
    places: dict[Where, tuple[Shape, Shape]] = {
        "after": (here.out_shape, here.out_shape), "before": (here.in_shape, here.in_shape),
    }  # fmt: skip
    if family not in _PLAIN:
        places |= dict.fromkeys(("parallel_sum", "parallel_concat", "gated"), (here.in_shape, here.out_shape))
        places["residual"] = (here.out_shape, here.out_shape)
    return [
        partial(_bring, partial(Edit, kind="insert", path=here.path, where=where), fitting)
        for where, shapes in places.items()
        for fitting in here.fits.between(*shapes).get(family, ())
    ]


def _bring(edit: Callable[..., Edit], fitting: Fitting, rng: np.random.Generator) -> Move:
    node, free = _varied(fitting.node, _free(fitting.contract), rng)
    return Move(edit(node=node), fitting.entry, free)


Free: TypeAlias = Mapping[str, tuple[Json, ...]]


def _varied(node: Tree, free: Free, rng: np.random.Generator) -> tuple[Tree, Free]:
    """Return the node with one free argument drawn anew, half of the time; and what is free, as it is first."""
    drawn: dict[str, Json] = {}
    if free and rng.random() >= 0.5:
        name = sorted(free)[int(rng.integers(len(free)))]
        drawn[name] = free[name][int(rng.integers(len(free[name])))]
    varied = _with(node, drawn) if drawn else node
    given = _inner(varied)[1].args
    first = {name: given.get(name, values[0]) for name, values in free.items()}
    return varied, {name: (first[name], *(v for v in values if v != first[name])) for name, values in free.items()}


def _with(node: Tree, args: Mapping[str, Json]) -> Tree:
    """Return a node with other arguments of the module that it is there for."""
    path, inner = _inner(node)
    return node.with_node(path, Tree(inner.module, {**inner.args, **args}, inner.children))


def _inner(node: Tree) -> tuple[str, Tree]:
    """Return the module that a node is there for, without the changes of layout around it, and its path."""
    return next((p, n) for p, n in node.walk() if n.module != "torch.nn.Sequential" and not n.module.startswith(BLOCKS))


def _free(contract: Contract) -> dict[str, tuple[Json, ...]]:
    """Return the arguments that can be drawn anew. Whether a module works in place says nothing of what it computes."""
    return {name: values for name, values in contract.free.items() if name != "inplace"}


def _arguable(here: Here) -> tuple[str, ...]:
    return _own(here) if next(_other_args(here), None) is not None else ()


def _arguments(here: Here, _: str) -> list[Draw]:
    return [_fixed(here.own, Edit(kind="set_args", path=here.path, args=args)) for args in _other_args(here)]


def _other_args(here: Here) -> Iterator[Mapping[str, Json]]:
    given, contracts = here.slot.args, here.own.contracts if here.own is not None else ()
    contract = next((c for c in contracts if c.plain and c.layout_in == here.slot.layout), None)
    if given is None or contract is None:
        return
    for name, values in sorted(_free(contract).items()):
        for value in values:
            if given.get(name, values[0]) != value:
                yield {name: value}


def _repeatable(here: Here) -> tuple[str, ...]:
    follows = here.in_shape == here.out_shape or _scalable(here, here.slot)
    return _own(here) if follows and here.slot.parameters and here.slot.family not in _PLAIN else ()


def _repetitions(here: Here, _: str) -> list[Draw]:
    return [_fixed(here.own, Edit(kind="repeat", path=here.path, times=times)) for times in (2, 3)]


def _single(here: Here) -> tuple[str, ...]:
    after, tree = here.neighbours[1], here.network.tree
    return _own(here) if after is not None and tree.at(after.path) == tree.at(here.path) is not None else ()


def _singles(here: Here, _: str) -> list[Draw]:
    return [_fixed(here.own, Edit(kind="unrepeat", path=here.path))]


def _widenable(here: Here) -> tuple[str, ...]:
    below = (s for path, s in here.network.slots.items() if path.startswith(f"{here.path}."))
    inner = here.slot.module in ROWS and any(_scalable(here, s) for s in below)
    return _own(here) if here.slot.parameters and (inner or _scalable(here, here.slot)) else ()


def _widths(here: Here, _: str) -> list[Draw]:
    layout = layout_of(here.out_shape)
    width = channels_of(here.out_shape, layout) if layout is not None else 0
    whole = [f for f in _FACTORS if (Fraction(f) * width).denominator == 1 and Fraction(f) * width >= 1]
    return [_fixed(here.own, Edit(kind="widen", path=here.path, factor=factor)) for factor in whole]


def _scalable(here: Here, slot: Slot) -> bool:
    """Return whether the module of a slot says which of its arguments move its channels."""
    entry = here.entry(slot)
    return entry is not None and any(c.plain and (c.in_args or c.out_args) for c in entry.contracts)


def _movable(here: Here) -> tuple[str, ...]:
    return _own(here) if next(_steps(here), None) is not None else ()


def _shifts(here: Here, _: str) -> list[Draw]:
    return [_fixed(here.own, Edit(kind="move_downsampling", path=here.path, step=step)) for step in _steps(here)]


def _steps(here: Here) -> Iterator[int]:
    """Yield the ways in which the fall in resolution at a slot can move, where both modules have a stride."""
    layout_in, layout_out = layout_of(here.in_shape), layout_of(here.out_shape)
    if layout_in is None or layout_in != layout_out:
        return
    if sizes_of(here.in_shape, layout_in) != sizes_of(here.out_shape, layout_in) and _strided(here, here.slot):
        for step, other in zip((-1, 1), here.neighbours, strict=True):
            if other is not None and _strided(here, other):
                yield step


def _strided(here: Here, slot: Slot) -> bool:
    entry = here.entry(slot)
    return entry is not None and any(c.plain and c.stride_arg is not None for c in entry.contracts)


def _wrappable(here: Here) -> Iterator[str]:
    if not here.slot.parameters or here.slot.family in _PLAIN:
        return
    above = here.network.slots.get(here.path.rpartition(".")[0])
    near = (here.slot.module, above.module if above is not None else "")
    for family, (module, _) in _WRAPPERS.items():
        fits = _stacks(here) if module == CONCAT else here.in_shape == here.out_shape
        if fits and module not in near:
            yield family


def _stacks(here: Here) -> bool:
    """Return whether a slot's input and output can be stacked by their channels."""
    args = concat_args(here.out_shape)
    if args is None or len(here.in_shape) != len(here.out_shape):
        return False
    pairs = enumerate(zip(here.in_shape, here.out_shape, strict=True))
    return all(a == b or i == args.get("dim", 1) for i, (a, b) in pairs)


def _wraps(here: Here, family: str) -> list[Draw]:
    module, inner = _WRAPPERS[family]
    args = concat_args(here.out_shape) or {} if module == CONCAT else {}
    return [_fixed(None, Edit(kind="wrap", path=here.path, node=Tree(module, args), inner=inner))]


def _graftable(here: Here) -> Iterator[str]:
    for family in here.donors.between(here.in_shape, here.out_shape):
        if _grafts(here, family):
            yield family


def _grafts(here: Here, family: str) -> list[Draw]:
    found = here.donors.between(here.in_shape, here.out_shape)[family]
    return [partial(_graft, here, donor) for donor in found if donor.network is not here.network]


def _graft(here: Here, donor: Donor, _: np.random.Generator) -> Move | None:
    node = donor.node()
    if node is None:
        return None
    return Move(Edit(kind="graft", path=here.path, node=node, donor_in=donor.slot.in_shape), here.entry(donor.slot))


KINDS: Mapping[str, tuple[Callable[[Here], Iterable[str]], Callable[[Here, str], Sequence[Draw]]]] = {
    "delete": (_deletable, _deletions),
    "replace": (_replaceable, _replacements),
    "insert": (_insertable, _insertions),
    "set_args": (_arguable, _arguments),
    "repeat": (_repeatable, _repetitions),
    "unrepeat": (_single, _singles),
    "widen": (_widenable, _widths),
    "move_downsampling": (_movable, _shifts),
    "wrap": (_wrappable, _wraps),
    "graft": (_graftable, _grafts),
}
"""For every kind of edit the families that it can bring in at a slot, and the moves of one of them."""
