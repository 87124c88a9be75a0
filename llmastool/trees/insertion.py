"""Edits that bring a module in beside what stands in a slot, or take it out."""

from __future__ import annotations

from llmastool.errors import EditRefused
from llmastool.registry.contract import CHANNEL_AXIS
from llmastool.trees.adapters import Style, sequence
from llmastool.trees.axes import layout_of
from llmastool.trees.fitting import fitted, joined, node_at, shape_after
from llmastool.trees.observe import Network
from llmastool.trees.profile import Shape
from llmastool.trees.tree import Tree

RESIDUAL, GATED, CONCAT = (f"llmastool.blocks.{name}" for name in ("Residual", "Gated", "Concat"))


def insert(
    network: Network, path: str, node: Tree, where: str, in_shape: Shape, out_shape: Shape, style: Style = "cheapest"
) -> Tree:
    """Return the tree with a module inserted; see `llmastool.trees.edits.Where`.

    Raises:
        EditRefused: it does not fit.
    """
    if where == "parallel_sum":
        new = fitted(node, in_shape, out_shape, network, path, style)
        return network.tree.with_node(path, _pair(RESIDUAL, body=node_at(network, path), shortcut=new))
    if where == "gated":
        new = fitted(node, in_shape, out_shape, network, path, style)
        return network.tree.with_node(path, _pair(GATED, body=node_at(network, path), gate=new))
    if where == "parallel_concat":
        return network.tree.with_node(path, _concat(network, path, node, in_shape, out_shape, style))
    shape = in_shape if where == "before" else out_shape
    new = fitted(node, shape, shape, network, path, style)
    if where == "residual":
        new = Tree(RESIDUAL, {}, (("body", new),))
    return _in_line(network, path, new, before=where == "before")


def _pair(module: str, **children: Tree) -> Tree:
    return Tree(module, {}, tuple(sorted(children.items())))


def _concat(network: Network, path: str, node: Tree, in_shape: Shape, out_shape: Shape, style: Style) -> Tree:
    """Return the slot's module and the new one side by side, their channels stacked, and brought back to as many."""
    args = concat_args(out_shape)
    if args is None:
        raise EditRefused(f"{path}: expected maps with channels first, tokens or vectors to stack, got {out_shape}")
    axis = args.get("dim", 1)
    given = shape_after(node, network, in_shape, path)
    same_rank = len(given) == len(out_shape)
    aligned = tuple(given[axis] if i == axis and same_rank else n for i, n in enumerate(out_shape))
    branch = fitted(node, in_shape, aligned, network, path, style)
    both = tuple(aligned[axis] + n if i == axis else n for i, n in enumerate(out_shape))
    adapter = joined(both, out_shape)
    if adapter is None:
        raise EditRefused(f"{path}: no adapter turns {both} into {out_shape}")
    stacked = Tree(CONCAT, args, (("body", node_at(network, path)), ("branch", branch)))
    return sequence([stacked, *adapter])


def concat_args(shape: Shape) -> dict[str, int] | None:
    """Return the arguments with which `Concat` stacks channels at a shape; None where it is not known how."""
    layout = layout_of(shape)
    if layout not in ("NCHW", "BNC", "BC"):
        return None
    axis = CHANNEL_AXIS[layout]
    return {"dim": axis} if axis != 1 else {}


def _in_line(network: Network, path: str, new: Tree, *, before: bool) -> Tree:
    parent_path, parent, name = around(network.tree, path)
    if parent is not None and parent.module == "torch.nn.Sequential":
        place = [slot for slot, _ in parent.children].index(name) + (not before)
        children = [*parent.children[:place], (fresh_name(parent, name), new), *parent.children[place:]]
        return network.tree.with_node(parent_path, renumbered(parent, children))
    pair = [new, node_at(network, path)] if before else [node_at(network, path), new]
    return network.tree.with_node(path, sequence(pair))


def delete(
    network: Network, path: str, module: str, in_shape: Shape, out_shape: Shape, style: Style = "cheapest"
) -> Tree:
    """Return the tree without what stands in a slot, or with the smallest adapter of a style in its place.

    Raises:
        EditRefused: nothing stands there but that already.
    """
    parent_path, parent, name = around(network.tree, path)
    in_sequence = parent is not None and parent.module == "torch.nn.Sequential"
    if in_shape == out_shape and in_sequence and parent is not None and len(parent.children) > 1:
        children = [c for c in parent.children if c[0] != name]
        return network.tree.with_node(parent_path, renumbered(parent, children))
    if module == "torch.nn.Identity":
        raise EditRefused(f"{path}: there is nothing to delete")
    adapter = joined(in_shape, out_shape, style)
    if adapter is None:
        raise EditRefused(f"{path}: no adapter turns {in_shape} into {out_shape}")
    new = sequence(adapter) if adapter else Tree("torch.nn.Identity")
    if new == network.tree.at(path):
        raise EditRefused(f"{path}: it is that adapter already")
    return network.tree.with_node(path, new)


def around(tree: Tree, path: str) -> tuple[str, Tree | None, str]:
    """Return the path and the stored node of a slot's parent, and the slot's name in it."""
    parent_path, _, name = path.rpartition(".")
    return parent_path, tree.at(parent_path) if parent_path else tree, name


def fresh_name(parent: Tree, name: str) -> str:
    """Return a name for a new child beside another."""
    taken = {slot for slot, _ in parent.children}
    stem = name.rstrip("0123456789").rstrip("_") or "module"
    return next(n for n in (f"{stem}_{i}" for i in range(1, len(taken) + 2)) if n not in taken)


def renumbered(parent: Tree, children: list[tuple[str, Tree]]) -> Tree:
    """Return a sequence with new children; where slots are numbers, they count from 0 again."""
    if all(slot.isdigit() for slot, _ in parent.children):
        children = [(str(i), child) for i, (_, child) in enumerate(children)]
    return Tree(parent.module, parent.args, tuple(children))
