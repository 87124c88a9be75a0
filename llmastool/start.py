"""The start population: the skeleton of NAS-Bench-201 with residual cells, and mined networks adapted to the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llmastool.errors import ConfigError, LLMasToolError
from llmastool.start_config import Skeleton, StartConfig
from llmastool.trees.catalog import Catalog
from llmastool.trees.observe import Network
from llmastool.trees.profile import Shape, Slot
from llmastool.trees.tree import Tree

_SCALES = (0.5, 1.0, 1.5, 2.0)
"""By how much a drawn skeleton can be wider than the one that it is drawn from."""


def population(config: StartConfig, catalog: Catalog, in_shape: Shape, classes: int) -> list[tuple[str, Tree]]:
    """Return the networks to start from, each with a name.

    Args:
        config: which.
        catalog: where modules come from.
        in_shape: `(batch, channels, height, width)` of the data.
        classes: number of classes.

    Raises:
        ConfigError: a mined network is unknown, or cannot be adapted.
    """
    scaled = [(s.name, skeleton(s, in_shape[1], classes)) for s in config.skeletons]
    return scaled + mined_population(config, catalog, in_shape, classes)


def mined_population(config: StartConfig, catalog: Catalog, in_shape: Shape, classes: int) -> list[tuple[str, Tree]]:
    """Return the mined networks among those to start from; see `population`."""
    found = []
    for number, network in enumerate(config.mined):
        try:
            tree = Tree(catalog.by_name(network.module), network.args)
            found.append((network.module, adapt(tree, catalog, in_shape, classes, config.min_size)))
        except LLMasToolError as error:
            raise ConfigError(f"start.mined[{number}] ({network.module}): {error}") from error
    return found


def variant(config: Skeleton, rng: np.random.Generator) -> Skeleton:
    """Return a skeleton near another one: half to twice as wide, with up to one cell and one stage more or fewer."""
    cells, stages = (max(1, n + int(rng.integers(-1, 2))) for n in (config.cells, config.stages))
    return Skeleton(channels=max(1, round(config.channels * rng.choice(_SCALES))), cells=cells, stages=stages)


def skeleton(config: Skeleton, in_channels: int, classes: int) -> Tree:
    """Return the skeleton with residual cells, every layer a node of its own."""
    width = config.channels
    children = [("stem", _sequence(_conv(in_channels, width, 3), _norm(width)))]
    for stage in range(config.stages):
        if stage:
            children.append((f"reduce{stage}", _residual(width, 2 * width, stride=2)))
            width *= 2
        cells = [_residual(width, width, stride=1) for _ in range(config.cells)]
        children.append((f"stage{stage + 1}", _sequence(*cells)))
    head = (
        _norm(width),
        Tree("torch.nn.ReLU"),
        Tree("torch.nn.AdaptiveAvgPool2d", {"output_size": 1}),
        Tree("torch.nn.Flatten"),
        Tree("torch.nn.Linear", {"in_features": width, "out_features": classes}),
    )
    children.append(("head", _sequence(*head)))
    return Tree("torch.nn.Sequential", {}, tuple(children))


def _sequence(*nodes: Tree) -> Tree:
    return Tree("torch.nn.Sequential", {}, tuple((str(i), node) for i, node in enumerate(nodes)))


def _conv(channels: int, out: int, kernel: int, stride: int = 1) -> Tree:
    args = {"in_channels": channels, "out_channels": out, "kernel_size": kernel, "padding": kernel // 2, "bias": False}
    return Tree("torch.nn.Conv2d", {**args, "stride": stride} if stride > 1 else args)


def _norm(channels: int) -> Tree:
    return Tree("torch.nn.BatchNorm2d", {"num_features": channels})


def _residual(channels: int, out: int, stride: int) -> Tree:
    """Return the residual block of NAS-Bench-201: two ReLU-conv-BN beside a shortcut that pools where it strides."""
    relu = Tree("torch.nn.ReLU")
    body = _sequence(relu, _conv(channels, out, 3, stride), _norm(out), relu, _conv(out, out, 3), _norm(out))
    shortcut: tuple[tuple[str, Tree], ...] = ()
    if stride > 1:
        pool = Tree("torch.nn.AvgPool2d", {"kernel_size": stride})
        shortcut = (("shortcut", _sequence(pool, _conv(channels, out, 1))),)
    return Tree("llmastool.blocks.Residual", {}, (("body", body), *shortcut))


def adapt(tree: Tree, catalog: Catalog, in_shape: Shape, classes: int, min_size: int) -> Tree:
    """Return a network for RGB images changed to take other images, tell other classes apart, and keep small maps.

    The last layer's output and the first layer's input are set, and the first strides removed, by arguments.

    Raises:
        TreeError: the network does not run on RGB images of this size.
        ConfigError: it has no layer that can be changed so.
    """
    rgb = (in_shape[0], 3, *in_shape[2:])
    network = Network(tree, catalog, rgb)
    last = _find([s for s in network.profile.slots[::-1] if s.out_shape == network.profile.out_shape], "out_features")
    tree = _with_args(network, last, {"out_features": classes})
    for slot in network.profile.slots:
        if _smallest(Network(tree, catalog, rgb)) >= min_size:
            break
        if slot.leaf and _shrinks(slot):
            tree = _unstrided(tree, network, slot, catalog, rgb)
    network = Network(tree, catalog, rgb)
    first = _find(list(network.profile.slots), "in_channels")
    return _with_args(network, first, {"in_channels": in_shape[1]})


def _find(slots: Sequence[Slot], arg: str) -> Slot:
    for slot in slots:
        if slot.leaf and slot.args is not None and arg in slot.args:
            return slot
    raise ConfigError(f"expected a layer with an argument {arg!r}, found none")


def _with_args(network: Network, slot: Slot, args: dict[str, Any]) -> Tree:
    node = network.node(slot.path)
    return network.tree.with_node(slot.path, Tree(node.module, {**node.args, **args}, node.children))


def _smallest(network: Network) -> int:
    """Return the smallest side of the maps that layers with parameters put out."""
    shapes = [s.out_shape for s in network.profile.slots if s.leaf and s.parameters and s.out_shape is not None]
    return min((min(shape[2:]) for shape in shapes if len(shape) == 4), default=1)


def _shrinks(slot: Slot) -> bool:
    if slot.in_shape is None or slot.out_shape is None or len(slot.in_shape) != 4 or len(slot.out_shape) != 4:
        return False
    return 1 < slot.in_shape[2] > slot.out_shape[2]


def _unstrided(tree: Tree, network: Network, slot: Slot, catalog: Catalog, rgb: Shape) -> Tree:
    """Return the tree with one stride taken out; as it was where that does not run."""
    node = network.node(slot.path)
    new = Tree(node.module, {**node.args, "stride": 1}) if slot.parameters else Tree("torch.nn.Identity")
    changed = tree.with_node(slot.path, new)
    try:
        Network(changed, catalog, rgb)
    except LLMasToolError:
        return tree
    return changed
