"""The flow of a network: which module reads what which other one gives, as seen in a forward pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

JOIN = -1
"""Slot of a node where branches are joined by an operation: a sum, a product, a concatenation."""

IN = -1
"""Node of the input. That of the output is the number of nodes."""


class Ways(NamedTuple):
    """All ways from the input of a network to its output."""

    log_number: float
    """Natural logarithm of their number."""
    longest: float
    shortest: float
    """Where it is small, the input reaches the output past most modules, as along a residual network's shortcuts."""
    mean: float
    """Mean length over all ways, each counted alike (Veit et al. 2016)."""


@dataclass(frozen=True)
class Flow:
    """A directed graph without cycles, of all that lies on a way from the input to the output and of nothing else."""

    nodes: tuple[int, ...] = ()
    """Position, among a profile's slots, of the module of every node, or `JOIN`; what reads comes after what it reads.

    A slot has a node for each of its calls. Only slots below which no other is called have nodes."""
    edges: tuple[tuple[int, int], ...] = ()
    """Pairs of nodes, the first of which gives what the second reads; sorted."""

    @staticmethod
    def of(nodes: Iterable[int], edges: Iterable[tuple[int, int]]) -> Flow:
        """Return the flow without the nodes that lie on no way from the input to the output.

        Joins of joins are one: `a + b + c` joins three, where nothing else reads `a + b`.

        Args:
            nodes: the slot of every node, in an order in which what reads comes after what it reads.
            edges: as in the result; there may be equal ones.
        """
        slots = list(nodes)
        graph = Flow(tuple(slots), tuple(sorted(set(edges))))
        reached, needed = {IN}, {len(slots)}
        for node in range(len(slots) + 1):
            if reached & set(graph.before.get(node, ())):
                reached.add(node)
        for node in range(len(slots) - 1, IN - 1, -1):
            if needed & set(graph.after.get(node, ())):
                needed.add(node)
        live = reached & needed
        if IN not in live:
            return Flow()
        into = {node: node for node in live}
        for node in sorted(live - {IN, len(slots)}, reverse=True):
            readers = [n for n in graph.after[node] if n in live]
            if slots[node] == JOIN and len(readers) == 1 and readers[0] < len(slots) and slots[readers[0]] == JOIN:
                into[node] = into[readers[0]]
        kept = sorted(node for node in live if into[node] == node)
        number = {node: i for i, node in enumerate(kept, IN)}
        found = {(number[into[a]], number[into[b]]) for a, b in graph.edges if a in live and b in live}
        return Flow(tuple(slots[node] for node in kept[1:-1]), tuple(sorted((a, b) for a, b in found if a != b)))

    @cached_property
    def before(self) -> dict[int, list[int]]:
        """What each node reads."""
        return _grouped((b, a) for a, b in self.edges)

    @cached_property
    def after(self) -> dict[int, list[int]]:
        """What reads each node."""
        return _grouped(self.edges)

    @property
    def out(self) -> int:
        """Node of the output."""
        return len(self.nodes)

    @staticmethod
    def in_row(flows: Iterable[tuple[Flow, int]]) -> Flow:
        """Return the flow of networks that stand one behind another, each with how many slots come before its own."""
        nodes: list[int] = []
        edges: list[tuple[int, int]] = []
        ends = [IN]  # what the next one reads
        for flow, shift in flows:
            if not flow.edges:
                return Flow()
            start = len(nodes)
            nodes += flow.shifted(shift).nodes
            edges += [(a + start, b + start) for a, b in flow.edges if a != IN and b != flow.out]
            edges += [(end, b + start) for end in ends for b in flow.after[IN] if b != flow.out]
            ends = [end for a in flow.before[flow.out] for end in (ends if a == IN else [a + start])]
        edges += [(end, len(nodes)) for end in ends]
        return Flow(tuple(nodes), tuple(sorted(edges)))

    def shifted(self, by: int) -> Flow:
        """Return the same with slots that stand so many positions later."""
        return Flow(tuple(slot + by if slot != JOIN else JOIN for slot in self.nodes), self.edges)

    def ways(self, weight: Mapping[int, float]) -> Ways:
        """Return what there is to say of all ways from the input to the output.

        Args:
            weight: what a slot adds to the length of a way; 0 where it is missing.
        """
        at = {IN: Ways(0.0, 0.0, 0.0, 0.0)}
        for node in range(self.out + 1):
            found = [at[b] for b in self.before.get(node, ())]
            if not found:
                return at[IN]
            own = weight.get(self.nodes[node], 0.0) if node < self.out else 0.0
            top = max(w.log_number for w in found)
            shares = [math.exp(w.log_number - top) for w in found]
            at[node] = Ways(
                log_number=top + math.log(sum(shares)),
                longest=own + max(w.longest for w in found),
                shortest=own + min(w.shortest for w in found),
                mean=own + sum(share * w.mean for share, w in zip(shares, found, strict=True)) / sum(shares),
            )
        return at[self.out]

    def neighbours(self) -> Iterator[tuple[int | None, int | None]]:
        """Yield the slots of modules that follow each other, at once or with one join in between.

        None before a module is the network's input, None after it its output.
        """
        for a, b in self.edges:
            if a != IN and self.nodes[a] == JOIN:
                continue
            giver = self.nodes[a] if a != IN else None
            joins = b != self.out and self.nodes[b] == JOIN
            for reader in self.after[b] if joins else (b,):
                if reader == self.out:
                    yield giver, None
                elif self.nodes[reader] != JOIN:
                    yield giver, self.nodes[reader]


def _grouped(pairs: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found
