"""A built network whose forward is its own, looked at with what is known of the modules in it.

What a module shows depends on what it was built from and on what comes in. So each module that is called with one
tensor is run by itself, once, in however many networks of one class with the same arguments it stands; where it is
called again, that is recalled. Of an edited network only the modules around the edit are run.

That holds for modules which compute and do nothing else. One that is seen to leave something behind, that is hooked,
shared or called in two ways, is run where it stands, each time: `LIVE`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NoReturn, TypeAlias

import torch
from torch import nn

from llmastool.canonical import Json
from llmastool.errors import TreeError
from llmastool.meta import ShapesOnly
from llmastool.modes import drawing_alike, evaluating, quiet, training
from llmastool.registry.capture import Captured
from llmastool.seeds import derive
from llmastool.trees.axes import layout_of
from llmastool.trees.catalog import Catalog
from llmastool.trees.flow import Flow
from llmastool.trees.front import Forward, in_front, only
from llmastool.trees.part import ROOT, Part, Signal
from llmastool.trees.profile import Shape, Slot
from llmastool.trees.read import encode_args
from llmastool.trees.tree import Tree
from llmastool.trees.watch import Belongings, Recalled, Run, Seen, Watch, below

LIVE: Literal["live"] = "live"
"""Remembered in place of what is seen of a module that has to be run where it stands."""

Found: TypeAlias = Part | Signal | Literal["live"]
Make: TypeAlias = Callable[[nn.Module, Signal], Found]


class Again(BaseException):
    """A module was found to be `LIVE` when it was run by itself: build the network and begin anew.

    Mined code that catches every `Exception` does not catch it.
    """


class Failed(Again):
    """The same, where it raised an error; so do, most likely, the modules around it that are run by themselves."""


class Scene:
    """One network, built, and one look at it."""

    def __init__(self, net: nn.Module, captured: Captured, tree: Tree, catalog: Catalog, signal: Signal) -> None:
        """Say what is looked at.

        Args:
            net: what `tree` builds, on the meta device.
            captured: the constructor calls that made it.
            tree: the network. Where a module stands at several paths, nothing is recalled.
            catalog: what remembers.
            signal: the input.
        """
        self.names: Mapping[nn.Module, str] = {module: name for name, module in net.named_modules()}
        self._net, self._captured, self._tree, self._catalog, self._signal = net, captured, tree, catalog, signal
        self._stored = dict(tree.walk())
        self._whole = any(tree.shared())
        self._marks: dict[str, tuple[Any, ...]] = {}
        self._bare: dict[int, str] = {}
        self._root = (self._made(tree), signal)
        self._passes: list[Run | _Evaluation] = []
        self._at = ""
        self.left_nothing = False
        """Whether the network was left as it had been, after a look at it."""

    def look(self, *, recalling: bool = True) -> Part:
        """Return what is seen of the network.

        Args:
            recalling: whether what is known may be used; what comes of it is the same.

        Raises:
            TreeError: its forward fails, in train or in eval mode; the message starts with the path.
            Again: see there.
        """
        self._whole = self._whole or not recalling
        training(self._net)
        try:
            with Watch(lambda: self._passes[-1]), in_front(self), torch.no_grad(), quiet(), ShapesOnly():
                run, out = self._run(self._net, self._signal)
        except Exception as error:
            raise TreeError(f"{self._at or ROOT}: forward fails: {why(error)}") from error
        part, left_nothing = self._part(run, out), run.belongings.unchanged
        self.left_nothing = self._check_eval(out).belongings.unchanged and left_nothing
        return part

    def call(self, forward: Forward, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Stand in front of a call of a module of the network."""
        return self._passes[-1].call(forward, module, args, kwargs)

    # -- what is known -------------------------------------------------------------------------------------------

    def part(self, module: nn.Module, signal: Signal) -> Part | None:
        """Return what is seen of a module when this comes in; None where it has to be run where it stands."""
        found = self._known(module, signal, self._alone, "train")
        return found if isinstance(found, Part) else None

    def shape(self, module: nn.Module, signal: Signal) -> Signal | None:
        """Return what a module gives in eval mode; None where it has to be run where it stands."""
        found = self._known(module, signal, self._evaluated, "eval")
        return found if isinstance(found, Signal) else None

    def never(self, *paths: str) -> NoReturn:
        """Have the modules at some paths run where they stand, and begin anew."""
        for path in paths:
            self._catalog.parts.put((*self._mark(path), LIVE), LIVE)
        raise Again

    def _known(self, module: nn.Module, signal: Signal, make: Make, mode: str) -> Found | None:
        if self._whole or not module._modules:
            return None  # what calls nothing below is as soon run as recalled
        path = self.names[module]
        memory, key = self._catalog.parts, (*self._mark(path), signal, mode)
        found: Found | None = memory.peek((*key[:-2], LIVE)) or memory.peek(key)
        if found is None:
            try:
                with drawing_alike(derive(0, "parts", *self._mark(path)[2:])):
                    found = LIVE if _hooked(module) else make(module, signal)
            except (Exception, Failed):  # noqa: BLE001 - the network gets to see it, and may know what to do
                memory.put(key, LIVE)
                raise Failed from None
            memory.put(key, found)
            if found == LIVE:
                raise Again
        return found

    def _mark(self, path: str) -> tuple[Any, ...]:
        """Return what tells what stands at a path from all else that can stand in networks of this class."""
        if path not in self._marks:
            steps, rest = self._tree.locate(path)
            node = self._stored[".".join(steps)]
            inside = [(slot, child.id) for slot, child in node.children if rest and below(slot, rest)]
            made = self._made(node) if rest else node.id
            self._marks[path] = (*self._root, made, rest, *(part for pair in inside for part in pair))
        return self._marks[path]

    def _made(self, node: Tree) -> str:
        """Return the id of a node without its children."""
        if id(node) not in self._bare:
            self._bare[id(node)] = Tree(node.module, node.args).id
        return self._bare[id(node)]

    # -- one pass ------------------------------------------------------------------------------------------------

    def _run(self, module: nn.Module, signal: Signal) -> tuple[Run, Any]:
        run = Run(module, self)
        self._passes.append(run)
        try:
            run.begin(x := signal.tensor())
            return run, module(x)
        except Exception as error:
            self._at = self.names[run.at(error)]
            raise
        finally:
            self._passes.pop()

    def _alone(self, module: nn.Module, signal: Signal) -> Part | Literal["live"]:
        run, out = self._run(module, signal)
        alone = run.spares_input and run.belongings.unchanged and isinstance(out, torch.Tensor) and out.is_meta
        return self._part(run, out) if alone else LIVE

    def _evaluated(self, module: nn.Module, signal: Signal) -> Signal | Literal["live"]:
        found, out = self._evaluate(module, signal)
        alone = found.belongings.unchanged and isinstance(out, torch.Tensor) and out.is_meta
        return Signal.of(out) if alone else LIVE

    def _evaluate(self, module: nn.Module, signal: Signal) -> tuple[_Evaluation, Any]:
        self._passes.append(evaluation := _Evaluation(module, self))
        try:
            return evaluation, module(signal.tensor())
        finally:
            self._passes.pop()

    def _check_eval(self, out: Any) -> _Evaluation:
        """Run the network in eval mode, where some take another way, that of `nn.TransformerEncoderLayer` for one.

        Raises:
            TreeError: it fails there, or what was one tensor in train mode has another shape.
        """
        evaluating(self._net)
        try:
            with in_front(self), torch.no_grad(), quiet(), ShapesOnly():
                evaluation, later = self._evaluate(self._net, self._signal)
        except Exception as error:
            raise TreeError(f"{ROOT}: forward fails in eval mode: {why(error)}") from error
        if isinstance(out, torch.Tensor) and getattr(later, "shape", None) != out.shape:
            got = tuple(later.shape) if isinstance(later, torch.Tensor) else type(later).__name__
            raise TreeError(
                f"{ROOT}: forward fails in eval mode: expected shape {tuple(out.shape)} as before, got {got}"
            )
        return evaluation

    # -- what was seen -------------------------------------------------------------------------------------------

    def _part(self, run: Run, out: Any) -> Part:
        found = [pair for module, seen in run.seen.items() for pair in self._slots(run, module, seen)]
        return Part(
            slots=tuple(slot for slot, _ in found),
            sizes=tuple(size for _, size in found),
            out=Signal.of(out) if isinstance(out, torch.Tensor) else type(out).__name__,
            parameters=_parameters(run.root),
            flops=run.flops[run.root],
            flow=run.flow(out) if isinstance(out, torch.Tensor) else Flow(),
        )

    def _slots(self, run: Run, module: nn.Module, seen: Seen | Recalled) -> Iterator[tuple[Slot, int]]:
        path = self.names[module]
        below_root = path[len(run.path) + 1 :] if run.path else path
        if isinstance(seen, Recalled):
            part = seen.part.at(below_root)
            yield from zip(part.slots, part.sizes, strict=True)
            return
        shapes = {(i, o) for i, o in zip(seen.ins, seen.outs, strict=True)}
        in_shape, out_shape = shapes.pop() if len(shapes) == 1 else (None, None)
        name, node = self._catalog.name(type(module)) or "", self._stored.get(path)
        slot = Slot(
            path=below_root,
            module=name,
            family=self._catalog.family(name),
            behaviour=self._catalog.behaviour(name),
            args=node.args if node is not None and node.module == name else self._args(module),
            in_shape=in_shape,
            out_shape=out_shape,
            layout=layout_of(in_shape) if in_shape is not None else None,
            calls=len(seen.ins),
            parameters=_parameters(module),
            flops=run.flops[module] // per(self._signal),
            stage=0,
            leaf=next(module.children(), None) is None,
        )
        yield slot, side(seen.ins[0])

    def _args(self, module: nn.Module) -> Mapping[str, Json] | None:
        try:
            return encode_args(module, self._captured, self._catalog)
        except TreeError:
            return None


class _Evaluation:
    """One pass of a module in eval mode, where only what comes out is looked at."""

    def __init__(self, root: nn.Module, scene: Scene) -> None:
        self._root, self._scene = root, scene
        self.belongings = Belongings()
        """Of the modules that were run."""

    def call(self, forward: Forward, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a module of the network, or recall what it gives."""
        x = only(args, kwargs) if module is not self._root else None
        out = self._scene.shape(module, Signal.of(x)) if x is not None else None
        if out is not None:
            return out.tensor()
        self.belongings.note(module)
        return forward(module, *args, **kwargs)


def per(signal: Signal) -> int:
    """Return how many floating-point operations are one multiply-add of one image."""
    return 2 * signal.shape[0]


def side(shape: Shape | None) -> int:
    """Return the side of a map, in positions; tokens count by the root of their number."""
    if shape is None:
        return 0
    if len(shape) == 4:
        return max(min(shape[1:3]), min(shape[2:4]), 1)
    return max(int(shape[1] ** 0.5), 1) if len(shape) == 3 else 1


def why(error: Exception) -> str:
    """Return why a forward pass failed, told apart: it asked for numbers, and where only shapes are there are none."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if "DataDependent" in text or re.search(r"meta tensor|\bmeta\b.*(item|nonzero|data)|Tensor\.item", text):
        return f"what it does depends on the values of its input, and only shapes are looked at ({text})"
    return text


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _hooked(module: nn.Module) -> bool:
    """Whether something else is done when a module, or one in it, is called."""
    return any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
