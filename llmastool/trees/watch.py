"""Watch one forward pass on the meta device: what passes every module, what it costs, and what reads what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from llmastool.trees.flow import IN, JOIN, Flow
from llmastool.trees.profile import Shape


@dataclass
class Seen:
    """What was seen of one module."""

    index: int
    """How many modules were called before it for the first time."""
    ins: list[Shape | None] = field(default_factory=list)
    outs: list[Shape | None] = field(default_factory=list)


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


class Run:
    """One forward pass, watched."""

    def __init__(self, net: nn.Module) -> None:
        self.names = {module: name for name, module in net.named_modules()}
        """Path of every module."""
        self.seen: dict[nn.Module, Seen] = {}
        """What was called so far, in the order of first calls."""
        self.stack: list[Call] = []
        """What is running, the innermost last."""
        self.flops = Counter[nn.Module]()
        """Floating-point operations of all that was called."""
        self._nodes: list[int] = []
        self._edges: list[tuple[int, int]] = []
        self._from: dict[int, int] = {}
        self._alive: list[torch.Tensor] = []

    def begin(self, x: torch.Tensor) -> None:
        """Take a tensor for the network's input."""
        self._give(x, IN)

    def flow(self, out: torch.Tensor) -> Flow:
        """Return what led to an output."""
        node, size = self._from.get(id(out)), len(self._nodes)
        return Flow.of(self._nodes, [*self._edges, (node, size)]) if node is not None else Flow()

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note what a module is called with: a forward pre-hook."""
        tensors = [a for a in args if isinstance(a, torch.Tensor)]
        shape = tuple(tensors[0].shape) if len(tensors) == 1 and len(args) == 1 else None
        self.seen.setdefault(module, Seen(len(self.seen))).ins.append(shape)
        given = list(_tensors((args, kwargs)))
        if self.stack:
            self.stack[-1].lowest = False
        self.stack.append(Call(module, self._read(given), frozenset(map(id, given))))

    def after(self, module: nn.Module, _: tuple[Any, ...], out: Any) -> Any:
        """Note what a module gives: a forward hook."""
        call, seen = self.stack.pop(), self.seen[module]
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

    def operation(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """Note what an operation of PyTorch reads and gives."""
        reads = self._read(_tensors((args, kwargs)))
        if not reads or getattr(func, "_overloadpacket", func) in _CONSTANTS:
            return
        node = self._node(JOIN, reads) if len(reads) > 1 else next(iter(reads))
        for tensor in _tensors(out):
            self._give(tensor, node)

    def _read(self, tensors: Iterable[torch.Tensor]) -> set[int]:
        return {self._from[id(t)] for t in tensors if id(t) in self._from}

    def _node(self, slot: int, reads: set[int]) -> int:
        self._nodes.append(slot)
        self._edges += [(node, len(self._nodes) - 1) for node in reads]
        return len(self._nodes) - 1

    def _give(self, tensor: torch.Tensor, node: int) -> None:
        self._from[id(tensor)] = node
        self._alive.append(tensor)  # or its id might be another's soon


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

    def __init__(self, run: Run) -> None:
        # Importing it takes Triton along, some tenths of a second that a process which watches nothing can do without.
        from torch.utils.flop_counter import flop_registry

        super().__init__()
        self._run, self._formulas = run, flop_registry

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
        self._run.operation(func, args, kwargs, out)
        if formula is not None:
            count = formula(*args, **kwargs, out_val=out)
            for module in {call.module for call in self._run.stack}:
                self._run.flops[module] += count
        return out
