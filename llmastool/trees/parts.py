"""Parts of a network, each run once on the meta device, where nothing is computed, to note what passes its slots.

What a part shows depends on itself and on what comes in, so it is looked at once, in however many networks it stands. A
sequence is the parts in it, one after the other: of an edited network, only the part that changed is built and run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import nn

from llmastool.errors import RegistryError, TreeError
from llmastool.meta import ShapesOnly
from llmastool.modes import drawing_alike, evaluating, quiet, training
from llmastool.registry.capture import Captured
from llmastool.seeds import derive
from llmastool.trees.axes import layout_of
from llmastool.trees.catalog import Catalog
from llmastool.trees.flow import Flow
from llmastool.trees.profile import Shape, Slot
from llmastool.trees.read import build_captured, encode_args
from llmastool.trees.tree import Tree, join
from llmastool.trees.watch import Run, Watch

ROOT = "<root>"
"""How messages name the empty path."""

_SEQUENCE = "torch.nn.Sequential"


@dataclass(frozen=True)
class Signal:
    """All that a module can tell of a tensor on the meta device."""

    shape: Shape
    strides: tuple[int, ...]
    dtype: torch.dtype

    @staticmethod
    def of(tensor: torch.Tensor) -> Signal:
        """Describe a tensor."""
        return Signal(tuple(tensor.shape), tensor.stride(), tensor.dtype)

    @staticmethod
    def image(shape: Shape) -> Signal:
        """Describe a new tensor of single precision."""
        return Signal.of(torch.empty(shape, device="meta"))

    def tensor(self) -> torch.Tensor:
        """Return such a tensor."""
        return torch.empty_strided(self.shape, self.strides, dtype=self.dtype, device="meta")


@dataclass(frozen=True)
class Part:
    """What was seen of a subtree."""

    slots: tuple[Slot, ...]
    """Itself, with the path that it was asked for, and all below that were called, a parent before its children."""
    sizes: tuple[int, ...]
    """Side, in positions, of the first input of every slot: 0 where it had none, or several."""
    out: Signal | str
    """What it gives, or the name of the type where that is not one tensor."""
    parameters: int
    flops: int
    """Floating-point operations, as PyTorch counts them, for the whole batch."""
    flow: Flow
    """Which of the slots reads what which other one gives."""

    def at(self, slot: str) -> Part:
        """Return the same as seen from a node in one of whose slots it stands."""
        return replace(self, slots=tuple(replace(s, path=join(slot, s.path)) for s in self.slots))


Found: TypeAlias = Part | str
"""A part, or why there is none: a message that starts with a path."""


def observe(tree: Tree, catalog: Catalog, signal: Signal) -> Part:
    """Build a subtree, run it once, and return what was seen.

    Args:
        tree: the subtree.
        catalog: where its modules come from.
        signal: its input.

    Raises:
        TreeError: it cannot be built, or its forward fails; the message starts with the path from here.
        RegistryError: the catalog lacks a module.
    """
    found: Found = catalog.parts.get((tree.id, signal), lambda: _found(tree, catalog, signal))
    if isinstance(found, str):
        raise TreeError(found)
    return found


def _found(tree: Tree, catalog: Catalog, signal: Signal) -> Found:
    try:
        return _composed(tree, catalog, signal) or _observed(tree, catalog, signal)
    except TreeError as error:
        return str(error)


def _composed(tree: Tree, catalog: Catalog, signal: Signal) -> Part | None:
    """Return what is seen of a sequence, from its parts; None where it has to be looked at as a whole."""
    if tree.module != _SEQUENCE or tree.args or not tree.children or any(tree.shared()):
        return None
    parts: list[Part] = []
    flows: list[tuple[Flow, int]] = []
    now, before = signal, 1
    for slot, child in tree.children:
        try:
            part = observe(child, catalog, now)
        except (TreeError, RegistryError) as error:
            where, _, why = str(error).partition(": ")
            raise type(error)(f"{join(slot, '' if where == ROOT else where)}: {why}") from error
        parts.append(part.at(slot))
        if isinstance(part.out, str):
            return None
        flows.append((part.flow, before))
        now, before = part.out, before + len(part.slots)
    parameters, flops = sum(p.parameters for p in parts), sum(p.flops for p in parts)
    own = Slot(
        path="",
        module=_SEQUENCE,
        family=catalog.family(_SEQUENCE),
        behaviour=catalog.behaviour(_SEQUENCE),
        args={},
        in_shape=signal.shape,
        out_shape=now.shape,
        layout=layout_of(signal.shape),
        calls=1,
        parameters=parameters,
        flops=flops // _per(signal),
        stage=0,
        leaf=False,
    )
    slots = [own, *(slot for part in parts for slot in part.slots)]
    sizes = [_side(signal.shape), *(size for part in parts for size in part.sizes)]
    return Part(tuple(slots), tuple(sizes), now, parameters, flops, Flow.in_row(flows))


def _per(signal: Signal) -> int:
    """Return how many floating-point operations are one multiply-add of one image."""
    return 2 * signal.shape[0]


def _observed(tree: Tree, catalog: Catalog, signal: Signal) -> Part:
    """Build a subtree as a whole and run it. What it draws by chance is the same each time."""
    with drawing_alike(derive(0, "parts", tree.id)):
        return _run(tree, catalog, signal)


def _run(tree: Tree, catalog: Catalog, signal: Signal) -> Part:
    with torch.device("meta"), quiet(), ShapesOnly():
        net, captured = build_captured(tree, catalog)
    empty = next((name for name, p in net.named_parameters() if not nn.parameter.is_lazy(p) and not p.numel()), None)
    if empty is not None:
        where, _, name = empty.rpartition(".")
        raise TreeError(f"{where or ROOT}: forward fails: its parameter {name} holds no numbers")
    run = Run(net)
    handles = []
    for module in run.names:
        handles.append(module.register_forward_pre_hook(run.before, with_kwargs=True))
        handles.append(module.register_forward_hook(run.after))
    try:
        with Watch(run), torch.no_grad(), quiet(), ShapesOnly():
            run.begin(x := signal.tensor())
            out = training(net)(x)
    except Exception as error:
        where = run.names[run.stack[-1].module] if run.stack else ""
        raise TreeError(f"{where or ROOT}: forward fails: {_why(error)}") from error
    finally:
        for handle in handles:
            handle.remove()
    _check_eval(net, signal, out)
    return Part(
        slots=tuple(_slots(run, captured, catalog, tree, _per(signal))),
        sizes=tuple(_side(seen.ins[0]) for seen in run.seen.values()),
        out=Signal.of(out) if isinstance(out, torch.Tensor) else type(out).__name__,
        parameters=sum(p.numel() for p in net.parameters()),
        flops=run.flops[net],
        flow=run.flow(out) if isinstance(out, torch.Tensor) else Flow(),
    )


def _check_eval(net: nn.Module, signal: Signal, out: Any) -> None:
    """Run a network in eval mode, where some take another way, that of `nn.TransformerEncoderLayer` for one.

    Raises:
        TreeError: it fails there, or what was one tensor in train mode has another shape.
    """
    try:
        with torch.no_grad(), quiet(), ShapesOnly():
            later = evaluating(net)(signal.tensor())
    except Exception as error:
        raise TreeError(f"{ROOT}: forward fails in eval mode: {_why(error)}") from error
    if isinstance(out, torch.Tensor) and getattr(later, "shape", None) != out.shape:
        got = tuple(later.shape) if isinstance(later, torch.Tensor) else type(later).__name__
        raise TreeError(f"{ROOT}: forward fails in eval mode: expected shape {tuple(out.shape)} as before, got {got}")


def _why(error: Exception) -> str:
    """Return why a forward pass failed, told apart: it asked for numbers, and where only shapes are there are none."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if "DataDependent" in text or re.search(r"meta tensor|\bmeta\b.*(item|nonzero|data)|Tensor\.item", text):
        return f"what it does depends on the values of its input, and only shapes are looked at ({text})"
    return text


def _side(shape: Shape | None) -> int:
    """Return the side of a map, in positions; tokens count by the root of their number."""
    if shape is None:
        return 0
    if len(shape) == 4:
        return max(min(shape[1:3]), min(shape[2:4]), 1)
    return max(int(shape[1] ** 0.5), 1) if len(shape) == 3 else 1


def _slots(run: Run, captured: Captured, catalog: Catalog, tree: Tree, per: int) -> Iterator[Slot]:
    stored = dict(tree.walk())
    for module, seen in run.seen.items():
        shapes = {(i, o) for i, o in zip(seen.ins, seen.outs, strict=True)}
        in_shape, out = shapes.pop() if len(shapes) == 1 else (None, None)
        path, name = run.names[module], catalog.name(type(module)) or ""
        node = stored.get(path)
        yield Slot(
            path=path,
            module=name,
            family=catalog.family(name),
            behaviour=catalog.behaviour(name),
            args=node.args if node is not None and node.module == name else _args(module, captured, catalog),
            in_shape=in_shape,
            out_shape=out,
            layout=layout_of(in_shape) if in_shape is not None else None,
            calls=len(seen.ins),
            parameters=sum(p.numel() for p in module.parameters()),
            flops=run.flops[module] // per,
            stage=0,
            leaf=next(module.children(), None) is None,
        )


def _args(module: nn.Module, captured: Captured, catalog: Catalog) -> dict[str, Any] | None:
    try:
        return encode_args(module, captured, catalog)
    except TreeError:
        return None
