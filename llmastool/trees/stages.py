"""Edits of what stands in a row: repeat a module, change the width of a stage, move where the resolution falls."""

from __future__ import annotations

from fractions import Fraction

from llmastool.errors import EditRefused
from llmastool.registry.contract import CHANNEL_AXIS, SIZE_AXES
from llmastool.trees.adapters import sequence
from llmastool.trees.axes import layout_of
from llmastool.trees.fitting import joined, node_at, refit, shape_after, short_name, with_channels
from llmastool.trees.insertion import around, fresh_name, renumbered
from llmastool.trees.observe import Network
from llmastool.trees.profile import Shape, Slot
from llmastool.trees.tree import Tree, join

ROWS = ("torch.nn.Sequential", "llmastool.blocks.Residual", "llmastool.blocks.Gated", "llmastool.blocks.Concat")
"""Modules that do nothing to a shape by themselves, so that their width is that of their children."""


def repeat(network: Network, slot: Slot, times: int) -> Tree:
    """Return the tree with a module standing so many times in a row, with weights of its own each time.

    Where it changes its input's shape, those that follow get other arguments.

    Raises:
        EditRefused: it cannot follow itself.
    """
    in_shape, out_shape = shapes_of(slot)
    if times < 2:
        raise EditRefused(f"{slot.path}: expected to repeat it 2 times or more, got {times}")
    node = node_at(network, slot.path)
    copy = node if in_shape == out_shape else refit(node, network, out_shape, out_shape)
    if copy is None:
        raise EditRefused(f"{slot.path}: {short_name(node)} cannot follow itself: it does not take {out_shape}")
    copies = [copy] * (times - 1)
    parent_path, parent, name = around(network.tree, slot.path)
    if parent is None or parent.module != "torch.nn.Sequential":
        return network.tree.with_node(slot.path, sequence([node, *copies]))
    place = [s for s, _ in parent.children].index(name) + 1
    row = parent
    for at in range(place, place + times - 1):
        children = [*row.children[:at], (fresh_name(row, name), copy), *row.children[at:]]
        row = Tree(row.module, row.args, tuple(children))
    return network.tree.with_node(parent_path, renumbered(parent, list(row.children)))


def unrepeat(network: Network, slot: Slot) -> Tree:
    """Return the tree without the module that follows a slot and is the same as its own.

    Raises:
        EditRefused: no such module follows.
    """
    parent_path, parent, name = around(network.tree, slot.path)
    if parent is None or parent.module != "torch.nn.Sequential":
        raise EditRefused(f"{slot.path}: expected a slot of a sequence, in which the same follows")
    names = [s for s, _ in parent.children]
    at = names.index(name)
    if at + 1 == len(names) or parent.children[at + 1][1] != parent.children[at][1]:
        raise EditRefused(f"{slot.path}: what follows it is not the same")
    children = [c for i, c in enumerate(parent.children) if i != at + 1]
    return network.tree.with_node(parent_path, renumbered(parent, children))


def rescale(network: Network, slot: Slot, factor: Fraction) -> Tree:
    """Return the tree with all of a stage wider, or narrower, by a factor: every map of its width is of the new one.

    Before and after it, adapters bring the channels to what the rest of the network has.

    Raises:
        EditRefused: the new width is no whole number, or a module of the stage cannot have it.
    """
    in_shape, out_shape = shapes_of(slot)
    layout = layout_of(out_shape)
    if layout is None:
        raise EditRefused(f"{slot.path}: it is not known which axis of {out_shape} holds the channels")
    before = out_shape[CHANNEL_AXIS[layout]]
    width = factor * before
    if width.denominator != 1 or width < 1 or width == before:
        raise EditRefused(f"{slot.path}: {factor} times {before} channels is no other whole number of channels")
    after = int(width)
    entering, leaving = with_channels(in_shape, before, after), with_channels(out_shape, before, after)
    node = _rescaled(network, slot.path, node_at(network, slot.path), before, after)
    first, last = joined(in_shape, entering), joined(leaving, out_shape)
    if first is None or last is None:
        raise EditRefused(f"{slot.path}: no adapters lead from {in_shape} to {entering} and {leaving} to {out_shape}")
    whole = sequence([*first, node, *last])
    if shape_after(whole, network, in_shape, slot.path) != out_shape:
        raise EditRefused(f"{slot.path}: made {after} channels wide, it does not turn {in_shape} into {out_shape}")
    return network.tree.with_node(slot.path, whole)


def _rescaled(network: Network, path: str, node: Tree, before: int, after: int) -> Tree:
    """Return a node with every width of `before` channels changed, down to the modules that have contracts."""
    slot = network.slots.get(path)
    in_shape, out_shape = shapes_of(slot) if slot is not None else (None, None)
    if in_shape is not None and out_shape is not None:
        entering, leaving = with_channels(in_shape, before, after), with_channels(out_shape, before, after)
        if (entering, leaving) == (in_shape, out_shape) and node.module not in ROWS:
            return node
        found = refit(node, network, entering, leaving) if node.module not in ROWS else None
        if found is not None:
            return found
    if node.module not in ROWS:
        raise EditRefused(f"{path}: {short_name(node)} has no contract by which it could be {after} channels wide")
    children = ((name, _rescaled(network, f"{path}.{name}", child, before, after)) for name, child in node.children)
    return Tree(node.module, node.args, tuple(children))


def move_downsampling(network: Network, slot: Slot, step: int) -> Tree:
    """Return the tree with the fall in resolution at a slot moved to the slot before (-1) or after it (1) in the row.

    Raises:
        EditRefused: the resolution does not fall there, there is no such neighbour, or one of the two has no contract
            by which it could change its part.
    """
    parent_path, parent, name = around(network.tree, slot.path)
    if parent is None or parent.module != "torch.nn.Sequential":
        raise EditRefused(f"{slot.path}: expected a slot of a sequence, along which it could move")
    names = [s for s, _ in parent.children]
    to = names.index(name) + step
    if step not in (-1, 1) or not 0 <= to < len(names):
        raise EditRefused(f"{slot.path}: there is no slot {'before' if step < 0 else 'after'} it in its sequence")
    other = network.slots.get(join(parent_path, names[to]))
    if other is None:
        raise EditRefused(f"{slot.path}: no forward pass calls its neighbour {names[to]}")
    early, late = (slot, other) if step > 0 else (other, slot)
    (start, middle), (_, end) = shapes_of(early), shapes_of(late)
    falls = _sizes(start) != _sizes(middle) if step > 0 else _sizes(middle) != _sizes(end)
    moved = _with_sizes(middle, _sizes(start) if step > 0 else _sizes(end))
    if not falls or moved is None or moved == middle:
        raise EditRefused(f"{slot.path}: the resolution does not fall there")
    made = [
        refit(node_at(network, each.path), network, *shapes)
        for each, shapes in ((early, (start, moved)), (late, (moved, end)))
    ]
    if made[0] is None or made[1] is None:
        stuck = early if made[0] is None else late
        raise EditRefused(f"{stuck.path}: it has no contract by which it could change its part of the resolution")
    new = dict(zip((early.path.rpartition(".")[2], late.path.rpartition(".")[2]), made, strict=True))
    children = tuple((s, new.get(s) or child) for s, child in parent.children)
    return network.tree.with_node(parent_path, Tree(parent.module, parent.args, children))


def shapes_of(slot: Slot) -> tuple[Shape, Shape]:
    """Return a slot's shapes in and out.

    Raises:
        EditRefused: it does not take one tensor and give one.
    """
    if slot.in_shape is None or slot.out_shape is None:
        raise EditRefused(f"{slot.path}: expected one tensor in and one out, the same at every call")
    return slot.in_shape, slot.out_shape


def _sizes(shape: Shape) -> Shape:
    layout = layout_of(shape)
    return tuple(shape[a] for a in SIZE_AXES[layout]) if layout is not None else ()


def _with_sizes(shape: Shape, sizes: Shape) -> Shape | None:
    layout = layout_of(shape)
    if layout is None or len(SIZE_AXES[layout]) != len(sizes):
        return None
    by_axis = dict(zip(SIZE_AXES[layout], sizes, strict=True))
    return tuple(by_axis.get(i, n) for i, n in enumerate(shape))
