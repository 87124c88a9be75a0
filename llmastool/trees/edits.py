"""Edits: functions from tree to tree. An edit holds when the slot's observed shapes still fit, or it is refused.

Where the shapes do not fit by themselves, the smallest adapter is added; it is an ordinary node of the new tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from llmastool.canonical import Json
from llmastool.errors import EditRefused, TreeError
from llmastool.trees.adapters import bridge, sequence
from llmastool.trees.observe import Network, layout_of, out_shape
from llmastool.trees.profile import Shape, Slot
from llmastool.trees.tree import Tree

Kind = Literal["replace", "insert", "delete", "set_args"]

Where = Literal["before", "after", "residual"]
"""Where an inserted module goes: in front of what stands in the slot, behind it, or beside it, its output added."""


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One change at one slot."""

    kind: Kind
    path: str
    """Slot in the tree that is edited."""
    node: Tree | None = None
    """What comes in, for `replace` and `insert`."""
    where: Where = "after"
    """Where it is inserted."""
    args: Mapping[str, Json] | None = None
    """The arguments that change, for `set_args`."""

    def describe(self) -> str:
        """Return the edit in one line for a reader."""
        if self.kind == "delete":
            return f"delete {self.path}"
        if self.kind == "set_args":
            return f"set {', '.join(f'{k}={v}' for k, v in (self.args or {}).items())} at {self.path}"
        name = short_name(self.node) if self.node is not None else "nothing"
        return f"replace {self.path} by {name}" if self.kind == "replace" else f"insert {name} {self.where} {self.path}"


def short_name(node: Tree) -> str:
    """Return a node's class name; a sequence by its parts."""
    if node.module == "torch.nn.Sequential":
        return " + ".join(short_name(child) for _, child in node.children) or "nothing"
    return node.module.partition("@")[0].rsplit(".", 1)[-1]


def apply(edit: Edit, network: Network) -> Tree:
    """Return the edited tree.

    Raises:
        EditRefused: the slot does not exist, is not used as one tensor in and one out, or no adapter makes it fit.
    """
    slot = network.slots.get(edit.path)
    if slot is None:
        raise EditRefused(f"{edit.path}: there is no such slot, or no forward pass calls it")
    if slot.in_shape is None or slot.out_shape is None:
        raise EditRefused(f"{edit.path}: expected one tensor in and one out, the same at every call")
    if edit.kind == "replace":
        new = _fitted(_required(edit), slot.in_shape, slot.out_shape, network, edit.path)
    elif edit.kind == "insert":
        return _insert(edit, slot, network)
    elif edit.kind == "delete":
        return _delete(slot, network)
    else:
        old = _node(network, edit.path)
        changed = Tree(old.module, {**old.args, **(edit.args or {})}, old.children)
        if changed == old:
            raise EditRefused(f"{edit.path}: the arguments are these already")
        new = _fitted(changed, slot.in_shape, slot.out_shape, network, edit.path)
    return network.tree.with_node(edit.path, new)


def _required(edit: Edit) -> Tree:
    if edit.node is None:
        raise EditRefused(f"{edit.path}: {edit.kind} needs a module to bring in")
    return edit.node


def _node(network: Network, path: str) -> Tree:
    try:
        return network.node(path)
    except TreeError as error:
        raise EditRefused(f"{path}: what stands there cannot be moved: {error}") from None


def _fitted(node: Tree, in_shape: Shape, target: Shape, network: Network, path: str) -> Tree:
    """Return `node`, followed by an adapter if need be, so that `in_shape` becomes `target`."""
    out = _out_shape(node, network, in_shape, path)
    layout = layout_of(out)
    adapter = bridge(out, target, layout) if layout is not None and layout == layout_of(target) else None
    if out == target:
        adapter = []
    if adapter is None:
        raise EditRefused(f"{path}: no adapter turns {out} of {short_name(node)} into {target}")
    if not adapter:
        return node
    fitted = sequence([node, *adapter])
    if _out_shape(fitted, network, in_shape, path) != target:
        raise EditRefused(f"{path}: {short_name(fitted)} does not turn {in_shape} into {target}")
    return fitted


def _out_shape(node: Tree, network: Network, in_shape: Shape, path: str) -> Shape:
    try:
        return out_shape(node, network.catalog, in_shape)
    except TreeError as error:
        raise EditRefused(f"{path}: {short_name(node)}: {error}") from None


def _insert(edit: Edit, slot: Slot, network: Network) -> Tree:
    assert slot.in_shape is not None and slot.out_shape is not None
    shape = slot.in_shape if edit.where == "before" else slot.out_shape
    if edit.where == "residual":
        new = _fitted(_required(edit), slot.in_shape, slot.out_shape, network, edit.path)
        joined = Tree("llmastool.blocks.Residual", {}, (("body", _node(network, edit.path)), ("shortcut", new)))
        return network.tree.with_node(edit.path, joined)
    new = _fitted(_required(edit), shape, shape, network, edit.path)
    parent_path, _, name = edit.path.rpartition(".")
    parent = network.tree.at(parent_path) if parent_path else network.tree
    if parent is not None and parent.module == "torch.nn.Sequential":
        place = [s for s, _ in parent.children].index(name) + (edit.where == "after")
        children = [*parent.children[:place], (_fresh(parent, name), new), *parent.children[place:]]
        return network.tree.with_node(parent_path, _renumbered(parent, children))
    pair = [new, _node(network, edit.path)] if edit.where == "before" else [_node(network, edit.path), new]
    return network.tree.with_node(edit.path, sequence(pair))


def _delete(slot: Slot, network: Network) -> Tree:
    assert slot.in_shape is not None and slot.out_shape is not None
    parent_path, _, name = slot.path.rpartition(".")
    parent = network.tree.at(parent_path) if parent_path else network.tree
    in_sequence = parent is not None and parent.module == "torch.nn.Sequential"
    if slot.in_shape == slot.out_shape and in_sequence and parent is not None and len(parent.children) > 1:
        children = [c for c in parent.children if c[0] != name]
        return network.tree.with_node(parent_path, _renumbered(parent, children))
    if slot.module == "torch.nn.Identity":
        raise EditRefused(f"{slot.path}: there is nothing to delete")
    new = _fitted(Tree("torch.nn.Identity"), slot.in_shape, slot.out_shape, network, slot.path)
    if new.module == "torch.nn.Sequential":
        new = sequence([child for _, child in new.children[1:]])
    if new == network.tree.at(slot.path):
        raise EditRefused(f"{slot.path}: it is the smallest adapter already")
    return network.tree.with_node(slot.path, new)


def _fresh(parent: Tree, name: str) -> str:
    taken = {slot for slot, _ in parent.children}
    stem = name.rstrip("0123456789").rstrip("_") or "module"
    return next(n for n in (f"{stem}_{i}" for i in range(1, len(taken) + 2)) if n not in taken)


def _renumbered(parent: Tree, children: list[tuple[str, Tree]]) -> Tree:
    """Return the sequence with new children; where slots are numbers, they count from 0 again."""
    if all(slot.isdigit() for slot, _ in parent.children):
        children = [(str(i), child) for i, (_, child) in enumerate(children)]
    return Tree(parent.module, parent.args, tuple(children))
