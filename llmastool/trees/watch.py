"""Watch one forward pass on the meta device: what passes every module, what it costs, and what reads what.

What is known already of a module that is called is not seen again: its part is put in the place of the call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from llmastool.trees.flow import IN, JOIN, Flow
from llmastool.trees.front import Forward, only
from llmastool.trees.part import Part, Signal
from llmastool.trees.profile import Shape
from llmastool.trees.tree import join


@dataclass
class Seen:
    """What was seen of one module."""

    index: int
    """How many slots come before it: those that were called before it for the first time."""
    ins: list[Shape | None] = field(default_factory=list)
    outs: list[Shape | None] = field(default_factory=list)


@dataclass
class Recalled:
    """A module that was not run, as what is seen of it is known."""

    index: int
    """As in `Seen`."""
    part: Part


@dataclass
class Call:
    """A call that is running."""

    module: nn.Module
    reads: set[int]
    """Nodes of what it was given."""
    passes: frozenset[int]
    """Ids of the tensors that it was given."""
    lowest: bool = True
    """Whether it has called no other module so far."""


class Known(Protocol):
    """What is known of a network before a pass."""

    names: Mapping[nn.Module, str]
    """Path of every module, the first of several."""

    def part(self, module: nn.Module, signal: Signal) -> Part | None:
        """Return what is seen of a module when this comes in; None where it has to be run where it stands."""

    def never(self, *paths: str) -> NoReturn:
        """Have the modules at some paths run where they stand, from the start of the pass."""


class Run:
    """One forward pass of a module, watched."""

    def __init__(self, root: nn.Module, known: Known) -> None:
        """Begin with nothing seen.

        Args:
            root: what is run.
            known: of the network that it stands in.
        """
        self.root, self._known = root, known
        self.path = known.names[root]
        """Path of the root in its network."""
        self.seen: dict[nn.Module, Seen | Recalled] = {}
        """What was called so far, in the order of first calls."""
        self.stack: list[Call] = []
        """What is running, the innermost last."""
        self.flops = Counter[nn.Module]()
        """Floating-point operations of all that was run."""
        self._fault: tuple[Exception, nn.Module] | None = None
        self._size = 0
        self.belongings = Belongings()
        """Of the modules that were run."""
        self._holder: dict[str, str] = {}  # by path of a slot, the path of what was called or recalled with it
        self._nodes: list[int] = []
        self._edges: list[tuple[int, int]] = []
        self._from: dict[int, int] = {}
        self._alive: list[torch.Tensor] = []

    def begin(self, x: torch.Tensor) -> None:
        """Take a tensor for the input."""
        self._give(x, IN)

    @property
    def spares_input(self) -> bool:
        """Whether nothing was written into the input so far."""
        return self._from[id(self._alive[0])] == IN

    def flow(self, out: torch.Tensor) -> Flow:
        """Return what led to an output."""
        node, size = self._from.get(id(out)), len(self._nodes)
        return Flow.of(self._nodes, [*self._edges, (node, size)]) if node is not None else Flow()

    def call(self, forward: Forward, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a module of the network, or recall what is seen of it."""
        if self.stack:
            self.stack[-1].lowest = False
        x = only(args, kwargs)
        if x is not None and module is not self.root and not isinstance(self.seen.get(module), Seen):
            part = self._known.part(module, Signal.of(x))
            if part is not None:
                return self._recall(module, part, x)
        self._before(module, args, kwargs)
        try:
            out = forward(module, *args, **kwargs)
        except Exception as error:
            self._failed(module, error)
            raise
        return self._after(module, out)

    def at(self, error: Exception) -> nn.Module:
        """Return the module that raised an error."""
        return self._fault[1] if self._fault is not None and self._fault[0] is error else self.root

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        path = self._known.names[module]
        if self._holder.setdefault(path, path) != path or isinstance(self.seen.get(module), Recalled):
            self._known.never(self._holder[path])
        if not below(path, self.path):
            self._known.never(self.path)
        if module not in self.seen:
            self.seen[module] = Seen(self._size)
            self.belongings.note(module)
            self._size += 1
        seen = self.seen[module]
        assert isinstance(seen, Seen)
        tensors = [a for a in args if isinstance(a, torch.Tensor)]
        seen.ins.append(tuple(tensors[0].shape) if len(tensors) == 1 and len(args) == 1 else None)
        given = list(_tensors((args, kwargs)))
        self.stack.append(Call(module, self._read(given), frozenset(map(id, given))))

    def _failed(self, module: nn.Module, error: Exception) -> None:
        """Take down that a call ended with an error; the modules around it may know what to do."""
        self.stack.pop()
        seen = self.seen[module]
        assert isinstance(seen, Seen)
        seen.outs.append(None)
        if self._fault is None or self._fault[0] is not error:
            self._fault = error, module

    def _after(self, module: nn.Module, out: Any) -> Any:
        call, seen = self.stack.pop(), self.seen[module]
        assert isinstance(seen, Seen)
        seen.outs.append(tuple(out.shape) if isinstance(out, torch.Tensor) else None)
        if not call.lowest or not call.reads:
            return out
        if isinstance(out, torch.Tensor) and id(out) in call.passes:
            out = out.view_as(out)  # what passes it comes from it, and what reads its input does not
        node = self._node(seen.index, call.reads)
        for tensor in _tensors(out):
            if id(tensor) in self._from:
                self._give(tensor, node)
        return out

    def _recall(self, module: nn.Module, part: Part, x: torch.Tensor) -> torch.Tensor:
        """Take down a call of a module as its part has it, and return what it gives."""
        if module in self.seen:  # called twice
            self._known.never(self._known.names[module])
        index = self._place(module, part)
        self.count(part.flops)
        assert isinstance(part.out, Signal)
        out, reads = part.out.tensor(), self._read([x])
        if reads and part.flow.edges:
            start, given = len(self._nodes), next(iter(reads))
            self._nodes += part.flow.shifted(index).nodes
            nodes = {IN: given, **{node: start + node for node in range(part.flow.out)}}
            self._edges += [(nodes[a], nodes[b]) for a, b in part.flow.edges if b != part.flow.out]
            self._give(out, nodes[part.flow.before[part.flow.out][0]])
        return out

    def _place(self, module: nn.Module, part: Part) -> int:
        """Have a module and all below it among what was called, and return how many slots come before."""
        path = self._known.names[module]
        for slot in part.slots:
            holder = self._holder.setdefault(join(path, slot.path), path)
            if holder != path:
                self._known.never(path, holder)
        if not below(path, self.path):
            self._known.never(self.path)
        index = self._size
        self.seen[module] = Recalled(index, part)
        self._size += len(part.slots)
        return index

    def operation(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """Note what an operation of PyTorch reads and gives."""
        reads = self._read(_tensors((args, kwargs)))
        if not reads or getattr(func, "_overloadpacket", func) in _CONSTANTS:
            return
        node = self._node(JOIN, reads) if len(reads) > 1 else next(iter(reads))
        for tensor in _tensors(out):
            self._give(tensor, node)

    def count(self, flops: int) -> None:
        """Note floating-point operations of all that is running."""
        for module in {call.module for call in self.stack}:
            self.flops[module] += flops

    def _read(self, tensors: Iterable[torch.Tensor]) -> set[int]:
        return {self._from[id(t)] for t in tensors if id(t) in self._from}

    def _node(self, slot: int, reads: set[int]) -> int:
        self._nodes.append(slot)
        self._edges += [(node, len(self._nodes) - 1) for node in reads]
        return len(self._nodes) - 1

    def _give(self, tensor: torch.Tensor, node: int) -> None:
        self._from[id(tensor)] = node
        self._alive.append(tensor)  # or its id might be another's soon


class Belongings:
    """What some modules held before they were run, by which it shows whether they left anything behind."""

    def __init__(self) -> None:
        self._before: dict[nn.Module, list[object]] = {}

    def note(self, module: nn.Module) -> None:
        """Note what a module holds, unless that was noted before."""
        if module not in self._before:
            self._before[module] = _held(module)

    @property
    def unchanged(self) -> bool:
        """Whether each module holds the very same objects as before."""
        return all(_same(before, _held(module)) for module, before in self._before.items())


def _held(module: nn.Module) -> list[object]:
    """Return all that a module holds, what is in lists and mappings one by one."""
    found: list[object] = []
    for value in vars(module).values():
        found.append(value)
        if isinstance(value, list | tuple | set):
            found += value
        elif isinstance(value, dict):
            found += value.values()
    return found


def _same(before: Sequence[object], after: Sequence[object]) -> bool:
    return len(before) == len(after) and all(a is b for a, b in zip(before, after, strict=True))


def below(path: str, above: str) -> bool:
    """Return whether a path is another one or lies below it."""
    return not above or path == above or path.startswith(f"{above}.")


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in nested sequences and mappings."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)


_CONSTANTS = frozenset(
    getattr(torch.ops.aten, name)
    for name in (
        *(f"{kind}_like" for kind in ("zeros", "ones", "full", "rand", "randn", "randint")),
        *(f"new_{kind}" for kind in ("zeros", "ones", "full", "empty")),
    )
)
"""Operations whose outcome does not depend on the numbers that they are given."""


class Watch(TorchDispatchMode):
    """Counts floating-point operations by PyTorch's own formulas for every module that is running, and sees the flow.

    It counts as `torch.utils.flop_counter.FlopCounterMode`, without its bookkeeping for backward passes.
    """

    supports_higher_order_operators = True

    def __init__(self, running: Callable[[], object]) -> None:
        """Watch the pass that `running` returns: that which is under way."""
        # Importing it takes Triton along, some tenths of a second that a process which watches nothing can do without.
        from torch.utils.flop_counter import flop_registry

        super().__init__()
        self._running, self._formulas = running, flop_registry

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say that PyTorch need not keep its compiler, which it would import for that, from looking in here."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation of PyTorch."""
        kwargs = kwargs or {}
        formula = self._formulas.get(getattr(func, "_overloadpacket", func))
        if formula is None and isinstance(func, torch._ops.OpOverload):
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        run = self._running()
        assert isinstance(run, Run)
        run.operation(func, args, kwargs, out)
        if formula is not None:
            run.count(formula(*args, **kwargs, out_val=out))
        return out
