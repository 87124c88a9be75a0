"""Edits: functions from tree to tree. An edit holds when the slot's observed shapes still fit, or it is refused.

Where the shapes do not fit by themselves, the cheapest adapter is added; it is an ordinary node of the new tree. The
precondition of every kind stands beside it in `Kind`; all but `restore` need one tensor in and one out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from llmastool.canonical import Json, digest
from llmastool.errors import EditRefused, TreeError
from llmastool.trees import insertion, stages
from llmastool.trees.adapters import Style, sequence
from llmastool.trees.diff import differences
from llmastool.trees.fitting import fitted, joined, node_at, shape_after, short_name
from llmastool.trees.observe import Network
from llmastool.trees.profile import Shape, Slot
from llmastool.trees.tree import Tree

Kind = Literal[
    "replace", "insert", "delete", "set_args", "repeat", "unrepeat", "wrap", "graft", "widen", "move_downsampling",
    "restore",
]  # fmt: skip
"""What an edit does, and when it holds:

* `replace`: another module in the slot. It takes the slot's input; an adapter may bring its output to what is wanted.
* `insert`: a module beside the slot's; see `Where`.
* `delete`: nothing but the cheapest adapter in the slot.
* `set_args`: other arguments, with which the module still takes the slot's input.
* `repeat`: the module `times` times in a row; it can follow itself.
* `unrepeat`: the module that follows and is the same goes; there is one.
* `wrap`: the slot's module inside `node`, at that node's slot `inner`; an adapter may follow.
* `graft`: a subtree of another tree, where it took `donor_in`; adapters may stand on both sides.
* `widen`: every map of the slot's width inside it `factor` times as wide, below 1 to make it narrower; all its modules
  have contracts, and adapters may stand on both sides.
* `move_downsampling`: the fall in resolution at the slot moves `step` places along its sequence; both modules have
  contracts with a stride.
* `restore`: `node`, or nothing, stored at the path as it is given: the inverse of another edit.
"""

Where = Literal["before", "after", "parallel_sum", "parallel_concat", "residual", "gated"]
"""Where an inserted module goes: in front of what stands in the slot, or behind it; beside it, its output added, or its
channels stacked and brought back to as many as there were; behind it with a way around; or beside it as a gate."""


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One change at one slot."""

    kind: Kind
    path: str
    """Slot in the tree that is edited."""
    node: Tree | None = None
    """What comes in, for `replace`, `insert`, `wrap`, `graft` and `restore`."""
    where: Where = "after"
    """Where it is inserted."""
    args: Mapping[str, Json] | None = None
    """The arguments that change, for `set_args`."""
    times: int = 2
    """How often it stands in a row, for `repeat`."""
    factor: str = "2"
    """By how much it becomes wider, a fraction such as `3/2`, for `widen`."""
    step: int = 1
    """Along which way, 1 or -1, for `move_downsampling`."""
    inner: str = "body"
    """Slot of the wrapping node, for `wrap`."""
    donor_in: Shape | None = None
    """Shape of the input that the subtree took in its own network, for `graft`."""
    adapter: Style = "cheapest"
    """How an adapter behind what comes in changes the resolution, should one be needed; for the kinds in `ADAPTED`."""

    @property
    def key(self) -> str:
        """Hash of all that the edit says, 16 hexadecimal digits."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return digest({**fields, "node": self.node.id if self.node is not None else None})[:16]

    def describe(self) -> str:
        """Return the edit in one line for a reader."""
        name = short_name(self.node) if self.node is not None else "nothing"
        match self.kind:
            case "replace":
                return f"replace {self.path} by {name}"
            case "insert":
                return f"insert {name} {BESIDE[self.where]} {self.path}"
            case "set_args":
                return f"set {', '.join(f'{k}={v}' for k, v in (self.args or {}).items())} at {self.path}"
            case "repeat":
                return f"repeat {self.path} {self.times} times"
            case "wrap":
                return f"wrap {self.path} in {name}"
            case "graft":
                return f"graft {name} at {self.path}"
            case "widen":
                return f"make {self.path} {self.factor} times as wide"
            case "move_downsampling":
                return f"move the downsampling of {self.path} {'later' if self.step > 0 else 'earlier'}"
            case _:
                return f"{self.kind} {self.path}"


ADAPTED: frozenset[Kind] = frozenset({"replace", "insert", "delete", "set_args", "wrap", "graft"})
"""Kinds that may put an adapter behind what comes in."""

BESIDE: Mapping[Where, str] = {
    "before": "before", "after": "after", "parallel_sum": "beside", "parallel_concat": "stacked beside",
    "residual": "with a skip after", "gated": "as a gate on",
}  # fmt: skip
"""Where an inserted module goes, in words."""


@dataclass(frozen=True)
class Applied:
    """An edit that held."""

    tree: Tree
    """The edited tree."""
    changed: tuple[str, ...]
    """Paths at which it differs from what it was."""
    inverse: Edit
    """The edit that brings back the tree that was edited."""


def apply(edit: Edit, network: Network) -> Applied:
    """Return the edited tree, what changed, and the way back.

    Raises:
        EditRefused: the edit does not hold; the message starts with the path and says why.
    """
    tree = _restored(edit, network.tree) if edit.kind == "restore" else _edited(edit, network)
    _check_shared(network.tree, tree, edit.path)
    changed = tuple(d.path for d in differences(network.tree, tree))
    if not changed:
        raise EditRefused(f"{edit.path}: nothing would change")
    return Applied(tree, changed, _inverse(network.tree, tree, changed))


def _edited(edit: Edit, network: Network) -> Tree:
    slot = network.slots.get(edit.path)
    if slot is None:
        raise EditRefused(f"{edit.path}: there is no such slot, or no forward pass calls it")
    in_shape, out_shape = stages.shapes_of(slot)
    match edit.kind:
        case "insert":
            node = _required(edit)
            return insertion.insert(network, edit.path, node, edit.where, in_shape, out_shape, edit.adapter)
        case "delete":
            return insertion.delete(network, edit.path, slot.module, in_shape, out_shape, edit.adapter)
        case "repeat":
            return stages.repeat(network, slot, edit.times)
        case "unrepeat":
            return stages.unrepeat(network, slot)
        case "widen":
            return stages.rescale(network, slot, _factor(edit))
        case "move_downsampling":
            return stages.move_downsampling(network, slot, edit.step)
    new = _AT_SLOT[edit.kind](edit, network, slot)
    return network.tree.with_node(edit.path, new)


def _replaced(edit: Edit, network: Network, slot: Slot) -> Tree:
    return fitted(_required(edit), *stages.shapes_of(slot), network, edit.path, edit.adapter)


def _with_args(edit: Edit, network: Network, slot: Slot) -> Tree:
    old = node_at(network, edit.path)
    changed = Tree(old.module, {**old.args, **(edit.args or {})}, old.children)
    if changed == old:
        raise EditRefused(f"{edit.path}: the arguments are these already")
    return fitted(changed, *stages.shapes_of(slot), network, edit.path, edit.adapter)


def _wrapped(edit: Edit, network: Network, slot: Slot) -> Tree:
    around, inner = _required(edit), node_at(network, edit.path)
    try:
        whole = around.with_node(edit.inner, inner)
    except TreeError as error:
        raise EditRefused(f"{edit.path}: {short_name(around)} has no slot {edit.inner}: {error}") from None
    return fitted(whole, *stages.shapes_of(slot), network, edit.path, edit.adapter)


def _grafted(edit: Edit, network: Network, slot: Slot) -> Tree:
    donor, (in_shape, out_shape) = _required(edit), stages.shapes_of(slot)
    try:
        return fitted(donor, in_shape, out_shape, network, edit.path, edit.adapter)
    except EditRefused:
        if edit.donor_in is None:
            raise
    wanted = (in_shape[0], *edit.donor_in[1:])
    entering = joined(in_shape, wanted)
    leaving = joined(shape_after(donor, network, wanted, edit.path), out_shape, edit.adapter)
    if entering is None or leaving is None:
        raise EditRefused(f"{edit.path}: no adapters lead from {in_shape} through {short_name(donor)} to {out_shape}")
    whole = sequence([*entering, donor, *leaving])
    if shape_after(whole, network, in_shape, edit.path) != out_shape:
        raise EditRefused(f"{edit.path}: {short_name(whole)} does not turn {in_shape} into {out_shape}")
    return whole


_AT_SLOT: Mapping[Kind, Callable[[Edit, Network, Slot], Tree]] = {
    "replace": _replaced, "set_args": _with_args, "wrap": _wrapped, "graft": _grafted,
}  # fmt: skip


def _restored(edit: Edit, tree: Tree) -> Tree:
    try:
        return tree.with_node(edit.path, edit.node)
    except TreeError as error:
        raise EditRefused(f"{edit.path}: {error}") from None


def _required(edit: Edit) -> Tree:
    if edit.node is None:
        raise EditRefused(f"{edit.path}: {edit.kind} needs a module to bring in")
    return edit.node


def _factor(edit: Edit) -> Fraction:
    try:
        return Fraction(edit.factor)
    except (ValueError, ZeroDivisionError):
        raise EditRefused(f"{edit.path}: expected a factor such as 2 or 3/4, got {edit.factor!r}") from None


def _check_shared(old: Tree, new: Tree, path: str) -> None:
    """Refuse an edit that moves or removes a module that stands at another path too."""
    for at, target in new.shared():
        same = old.locate(target) == new.locate(target) and old.at(target) == new.at(target)
        if not same and target != path:
            raise EditRefused(f"{path}: the module at {target} stands at {at} too, and this would move or change it")


def _inverse(old: Tree, new: Tree, changed: tuple[str, ...]) -> Edit:
    """Return the edit that puts back what was stored at the lowest node above all changes."""
    steps = [path.split(".") for path in changed]
    common: list[str] = []
    for parts in zip(*steps, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    while common:
        path = ".".join(common)
        try:
            if new.with_node(path, old.at(path)) == old:
                return Edit(kind="restore", path=path, node=old.at(path))
        except TreeError:
            pass
        common.pop()
    return Edit(kind="restore", path="", node=old)
