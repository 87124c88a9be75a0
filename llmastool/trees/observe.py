"""Observe a network: run it once on the meta device, where nothing is computed, and note what passes every slot."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from llmastool.errors import TreeError
from llmastool.meta import ShapesOnly
from llmastool.modes import training
from llmastool.registry.capture import Captured
from llmastool.registry.contract import CHANNEL_AXIS, SIZE_AXES
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog
from llmastool.trees.profile import Layout, Profile, Shape, Slot
from llmastool.trees.read import build_captured, encode_args, read
from llmastool.trees.tree import Tree

BATCH = 2
"""Batch size of the observation."""


@dataclass
class _Seen:
    """What was seen of one module."""

    ins: list[Shape | None] = field(default_factory=list)
    outs: list[Shape | None] = field(default_factory=list)
    stage: int = 0


@contextmanager
def quiet() -> Iterator[None]:
    """Keep mined code from warning of what was done to it: odd arguments are what a search tries."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Network:
    """A tree, built on the meta device and observed for one input shape. What edits are applied to."""

    def __init__(self, tree: Tree, catalog: Catalog, in_shape: Shape) -> None:
        """Build and observe.

        Args:
            tree: the network.
            catalog: where its modules come from.
            in_shape: `(batch, channels, height, width)`.

        Raises:
            TreeError: it cannot be built, or its forward fails on this shape; the message starts with the path.
            RegistryError: the catalog lacks a module.
        """
        with torch.device("meta"), quiet(), ShapesOnly():
            self._net, self._captured = build_captured(tree, catalog)
        self.tree, self.catalog = tree, catalog
        self.profile = profile(self._net, self._captured, catalog, in_shape, tree)
        self.slots = {slot.path: slot for slot in self.profile.slots}

    def node(self, path: str) -> Tree:
        """Return what stands at a path as a tree of its own, whether it is stored or made by a constructor.

        Raises:
            TreeError: there is no such slot, or what stands there cannot be written down.
        """
        stored = self.tree.at(path)
        if stored is not None:
            return stored
        try:
            module = self._net.get_submodule(path)
        except AttributeError:
            raise TreeError(f"{path}: there is no such slot") from None
        return read(module, self._captured, self.catalog)


def out_shape(tree: Tree, catalog: Catalog, in_shape: Shape) -> Shape:
    """Return the shape that a subtree alone gives for an input shape.

    Raises:
        TreeError: it cannot be built, does not take that input, or gives something other than one tensor.
    """
    key = (tree.id, in_shape)
    if key not in catalog.shapes:
        catalog.shapes[key] = _out_shape(tree, catalog, in_shape)
    found = catalog.shapes[key]
    if isinstance(found, str):
        raise TreeError(found)
    return found


def _out_shape(tree: Tree, catalog: Catalog, in_shape: Shape) -> Shape | str:
    """Return the shape that a subtree gives, or why it gives none."""
    try:
        with torch.device("meta"), torch.no_grad(), quiet(), ShapesOnly():
            out = training(build(tree, catalog))(torch.empty(in_shape, device="meta"))
    except Exception as error:  # noqa: BLE001 - mined code may raise anything; that it does is the answer
        return f"it does not take an input of shape {in_shape}: {_line(error)}"
    return tuple(out.shape) if isinstance(out, torch.Tensor) else f"it gives {type(out).__name__}, expected one tensor"


def profile(net: nn.Module, captured: Captured, catalog: Catalog, in_shape: Shape, tree: Tree) -> Profile:
    """Return the profile of a tree's network, which was built on the meta device inside `capture()`."""
    names = {module: name for name, module in net.named_modules() if name}
    seen: dict[nn.Module, _Seen] = {}
    stack: list[str] = []
    largest = max(in_shape[2:], default=1)
    handles = []
    for module in names:
        handles.append(module.register_forward_pre_hook(_before(module, seen, stack, names, largest)))
        handles.append(module.register_forward_hook(_after(module, seen, stack)))
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad(), quiet(), ShapesOnly():
            out = training(net)(torch.empty(in_shape, device="meta"))
    except Exception as error:
        where = stack[-1] if stack else "<root>"
        raise TreeError(f"{where}: forward fails: {_why(error)}") from error
    finally:
        for handle in handles:
            handle.remove()
    if not isinstance(out, torch.Tensor):
        raise TreeError(f"<root>: expected one tensor as output, got {type(out).__name__}")
    flops = _flops(counter, type(net).__name__)
    stored = dict(tree.walk())
    slots = tuple(_slots(names, seen, flops, captured, catalog, in_shape[0], stored))
    return Profile(
        slots=slots,
        in_shape=in_shape,
        out_shape=tuple(out.shape),
        parameters=sum(p.numel() for p in net.parameters()),
        flops=int(counter.get_total_flops()) // (2 * in_shape[0]),
        depth=sum(s.calls for s in slots if s.leaf and s.parameters),
    )


def _why(error: Exception) -> str:
    """Return why a forward pass failed, told apart: it asked for numbers, and where only shapes are there are none."""
    text = f"{type(error).__name__}: {_line(error)}"
    if "DataDependent" in text or re.search(r"meta tensor|\bmeta\b.*(item|nonzero|data)|Tensor\.item", text):
        return f"what it does depends on the values of its input, and only shapes are looked at ({text})"
    return text


def _before(
    module: nn.Module, seen: dict[nn.Module, _Seen], stack: list[str], names: dict[nn.Module, str], largest: int
) -> Any:
    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        stack.append(names[module])
        tensors = [a for a in (*args, *(kwargs or {}).values()) if isinstance(a, torch.Tensor)]
        shape = tuple(tensors[0].shape) if len(tensors) == 1 and len(args) == 1 else None
        first = module not in seen
        entry = seen.setdefault(module, _Seen())
        entry.ins.append(shape)
        if first and shape is not None:
            entry.stage = _stage(shape, largest)

    return hook


def _after(module: nn.Module, seen: dict[nn.Module, _Seen], stack: list[str]) -> Any:
    def hook(_: nn.Module, args: tuple[Any, ...], out: Any) -> None:  # noqa: ARG001 - torch's signature
        stack.pop()
        seen[module].outs.append(tuple(out.shape) if isinstance(out, torch.Tensor) else None)

    return hook


def _stage(shape: Shape, largest: int) -> int:
    """Return how often the resolution was halved before a map of this shape; tokens count by their number."""
    if len(shape) == 4:
        size = max(min(shape[1:3]), min(shape[2:4]), 1)
    elif len(shape) == 3:
        size = max(int(shape[1] ** 0.5), 1)
    else:
        size = 1
    return max(0, (largest // size).bit_length() - 1)


def _flops(counter: FlopCounterMode, root: str) -> dict[str, int]:
    """Return floating-point operations by dotted path, as the counter saw them for the whole batch."""
    prefix = f"{root}."
    found = {}
    for name, counts in counter.get_flop_counts().items():
        if name.startswith(prefix):
            found[name[len(prefix) :]] = int(sum(counts.values()))
    return found


def _slots(
    names: dict[nn.Module, str],
    seen: dict[nn.Module, _Seen],
    flops: dict[str, int],
    captured: Captured,
    catalog: Catalog,
    batch: int,
    stored: Mapping[str, Tree],
) -> Iterator[Slot]:
    for module, entry in seen.items():
        shapes = {(i, o) for i, o in zip(entry.ins, entry.outs, strict=True)}
        in_shape, out = shapes.pop() if len(shapes) == 1 else (None, None)
        name = catalog.name(type(module)) or ""
        node = stored.get(names[module])
        yield Slot(
            path=names[module],
            module=name,
            family=catalog.family(name),
            args=node.args if node is not None and node.module == name else _args(module, captured, catalog),
            in_shape=in_shape,
            out_shape=out,
            layout=layout_of(in_shape) if in_shape is not None else None,
            calls=len(entry.ins),
            parameters=sum(p.numel() for p in module.parameters()),
            flops=flops.get(names[module], 0) // (2 * batch),
            stage=entry.stage,
            leaf=next(module.children(), None) is None,
        )


def _args(module: nn.Module, captured: Captured, catalog: Catalog) -> dict[str, Any] | None:
    try:
        return encode_args(module, captured, catalog)
    except TreeError:
        return None


def layout_of(shape: Shape) -> Layout | None:
    """Return the layout of a tensor by its shape: maps are taken to be square, with channels first when in doubt."""
    if len(shape) == 4:
        return "NHWC" if shape[1] == shape[2] != shape[3] else "NCHW"
    return {3: "BNC", 2: "BC"}.get(len(shape))  # type: ignore[return-value]


def channels_of(shape: Shape, layout: Layout) -> int:
    """Return the number of channels of a tensor."""
    return shape[CHANNEL_AXIS[layout]]


def sizes_of(shape: Shape, layout: Layout) -> tuple[int, ...]:
    """Return the positions' sizes of a tensor."""
    return tuple(shape[axis] for axis in SIZE_AXES[layout])


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
