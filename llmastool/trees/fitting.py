"""Make a node fit between two shapes: by what adapters add around it, or by arguments of its own."""

from __future__ import annotations

from llmastool.canonical import Json
from llmastool.errors import EditRefused, TreeError
from llmastool.registry.contract import CHANNEL_AXIS, SIZE_AXES, Contract, scaled, sized
from llmastool.registry.words import last_name
from llmastool.trees.adapters import Style, bridge, restyled, sequence
from llmastool.trees.axes import channels_of, layout_of
from llmastool.trees.observe import Network, out_shape
from llmastool.trees.profile import Shape
from llmastool.trees.tree import SAME, Tree


def short_name(node: Tree) -> str:
    """Return a node's class name; a sequence by its parts."""
    if node.module == "torch.nn.Sequential":
        return " + ".join(short_name(child) for _, child in node.children) or "nothing"
    if node.module == SAME:
        return f"the module at {node.args['path']}"
    return last_name(node.module)


def node_at(network: Network, path: str) -> Tree:
    """Return what stands at a path as a tree of its own.

    Raises:
        EditRefused: it cannot be written down, or is shared with another path.
    """
    try:
        node = network.node(path)
    except TreeError as error:
        raise EditRefused(f"{path}: what stands there cannot be moved: {error}") from None
    if node.module == SAME:
        raise EditRefused(f"{path}: it shares the module at {node.args['path']}; edit it there")
    return node


def shape_after(node: Tree, network: Network, in_shape: Shape, path: str) -> Shape:
    """Return the shape that a node gives for an input shape.

    Raises:
        EditRefused: it does not take it.
    """
    try:
        return out_shape(node, network.catalog, in_shape)
    except TreeError as error:
        raise EditRefused(f"{path}: {short_name(node)}: {error}") from None


def fitted(node: Tree, in_shape: Shape, target: Shape, network: Network, path: str, style: Style = "cheapest") -> Tree:
    """Return a node, followed by an adapter if need be, so that `in_shape` becomes `target`.

    Raises:
        EditRefused: no adapter makes it fit.
    """
    out = shape_after(node, network, in_shape, path)
    adapter = joined(out, target, style)
    if adapter is None:
        raise EditRefused(f"{path}: no adapter turns {out} of {short_name(node)} into {target}")
    if not adapter:
        return node
    whole = sequence([*_parts(node), *adapter])
    if shape_after(whole, network, in_shape, path) != target:
        raise EditRefused(f"{path}: {short_name(whole)} does not turn {in_shape} into {target}")
    return whole


def _parts(node: Tree) -> list[Tree]:
    return [child for _, child in node.children] if node.module == "torch.nn.Sequential" else [node]


def joined(shape: Shape, target: Shape, style: Style = "cheapest") -> list[Tree] | None:
    """Return the adapters between two shapes, layouts told by their looks; None where there are none."""
    if shape == target:
        return []
    layout, to = layout_of(shape), layout_of(target)
    if layout is None or to is None:
        return None
    nodes = bridge(shape, target, layout, to)
    return restyled(nodes, channels_of(shape, layout), style) if nodes is not None else None


def refit(node: Tree, network: Network, in_shape: Shape, target: Shape) -> Tree | None:
    """Return a node with those arguments changed that its contract says move channels and sizes; None where none fit.

    Its other arguments may differ from those with which the contract was learned: that it fits is seen by running it.
    """
    registry = network.catalog.registry
    entry = registry.entries.get(node.module) if registry is not None else None
    for contract in entry.contracts if entry is not None else ():
        if not contract.plain or contract.layout_in != layout_of(in_shape) or contract.layout_out != layout_of(target):
            continue
        found = Tree(node.module, {**node.args, **_governed(contract, in_shape, target)}, node.children)
        try:
            if out_shape(found, network.catalog, in_shape) == target:
                return found
        except TreeError:
            continue
    return None


def _governed(contract: Contract, in_shape: Shape, target: Shape) -> dict[str, Json]:
    """Return the arguments that shapes decide, for these shapes."""
    channels, wanted = in_shape[CHANNEL_AXIS[contract.layout_in]], target[CHANNEL_AXIS[contract.layout_out]]
    found: dict[str, Json] = {name: scaled(ratio, channels) for name, ratio in contract.in_args.items()}
    found |= {name: scaled(ratio, wanted) for name, ratio in contract.out_args.items()}
    sizes = [in_shape[a] for a in SIZE_AXES[contract.layout_in]]
    after = [target[a] for a in SIZE_AXES[contract.layout_out]]
    found |= {name: sized(contract.args[name], sizes[0]) for name in contract.size_args}
    if contract.stride_arg is not None and sizes and len(sizes) == len(after):
        found[contract.stride_arg] = max(1, round(sizes[0] / after[0]))
    return {name: value for name, value in found.items() if value is not None}


def with_channels(shape: Shape, before: int, after: int) -> Shape:
    """Return a shape with its channels changed where they are as many as `before`."""
    layout = layout_of(shape)
    if layout is None:
        return shape
    axis = CHANNEL_AXIS[layout]
    return tuple(after if i == axis and n == before else n for i, n in enumerate(shape))
