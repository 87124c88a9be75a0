"""The judge of edits: chains of random ones, each child built, run and trained for a step, whatever it is.

A plan is drawn as the search does it: a kind of edit and a family, then a slot. Up to three edits of a plan are tried.
The first that holds makes the next network of the chain, if it passes the gates.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.mining_parts.forked import Tell, Work
from llmastool.canonical import Json
from llmastool.errors import EditRefused
from llmastool.modes import quiet
from llmastool.registry.capture import watching
from llmastool.trees.budget import Budget, Fell, check_profile
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog
from llmastool.trees.donors import Donors
from llmastool.trees.edits import Applied, apply
from llmastool.trees.gates import check, real_pass
from llmastool.trees.moves import Group, Moves
from llmastool.trees.observe import Network
from llmastool.trees.offers import Move
from llmastool.trees.text import diff
from llmastool.trees.tree import Tree

TRIES = 3
SHOWN_AFTER = 4
"""Edits that held after which a tree is shown beside its start."""
_LARGE = 1e-3
"""Gradient that moves a weight of usual size in single precision."""
NO_BUDGET = Budget(parameters=10**12, flops=10**15)


def prepare(request: Json) -> tuple[Sequence[Json], Work]:
    """Open the registry and build the networks to start from.

    Args:
        request: `registry`, a folder; `starts`, trees; `in_shape`, `classes`, `budget`, `slots` and `length`, the most
            edits of a chain; `items`, each with the number of its `start`, a `seed`, and how many `chains`.
    """
    catalog = Catalog.open(Path(request["registry"]))
    moves = Moves(catalog)
    starts = [Network(Tree.from_json(tree), catalog, tuple(request["in_shape"])) for tree in request["starts"]]

    def work(item: Json, tell: Tell) -> None:
        rng = np.random.default_rng(item["seed"])
        others = [starts[i] for i in rng.permutation(len(starts))[:3] if i != item["start"]]
        judge = _Judge(request, moves, Donors(others), rng)
        with watching():
            for number in range(item["chains"]):
                judge.chain(starts[item["start"]], tell, number)
        tell(judge.counted())

    return request["items"], work


class _Judge:
    def __init__(self, request: Json, moves: Moves, donors: Donors, rng: np.random.Generator) -> None:
        self.request, self.moves, self.donors, self.rng = request, moves, donors, rng
        self.budget = Budget(**request["budget"])
        self.counts: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.faults: list[str] = []
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(tuple(request["in_shape"]), generator=generator)

    def counted(self) -> Json:
        return {
            "counts": self.counts, "kinds": self.kinds, "refused": self.refused, "faults": self.faults[:20],
        }  # fmt: skip

    def chain(self, start: Network, tell: Tell, number: int) -> None:
        network, edits, held, story = start, 0, 0, list[str]()
        while edits < self.request["length"]:
            group, before = self._plan(network), self.counts["edits"]
            found = next(self._children(network, group, self.request["length"] - edits, story), None)
            edits += max(1, self.counts["edits"] - before)
            self.counts["plans"] += 1
            if found is None:
                continue
            self.counts["plans_with_edit"] += 1
            held += 1
            child, trains = found
            if trains and len(child.profile.slots) <= self.request["slots"]:
                network = child
            if held == SHOWN_AFTER and not number:
                tell({"shown": diff(start.tree, network.tree), "edits": story})
        tell({"tree": network.tree.to_json()})

    def _plan(self, network: Network) -> Group:
        stacks: dict[tuple[str, str], list[Group]] = {}
        for group in self.moves.groups(network, self.donors):
            stacks.setdefault((group.kind, group.family), []).append(group)
        stack = stacks[sorted(stacks)[int(self.rng.integers(len(stacks)))]]
        return stack[int(self.rng.integers(len(stack)))]

    def _children(self, network: Network, group: Group, most: int, story: list[str]) -> Iterator[tuple[Network, bool]]:
        for move in islice(self.moves.drawn(group, network, self.rng, self.donors), min(TRIES, most)):
            self.counts["edits"] += 1
            self.kinds[f"{group.kind} edits"] += 1
            applied = self._applied(move, network)
            child = self._checked(applied, network) if applied is not None else None
            if child is None or applied is None:
                continue
            self.counts["held"] += 1
            self.kinds[f"{group.kind} held"] += 1
            self.counts["inverses"] += apply(applied.inverse, child).tree == network.tree
            story.append(move.edit.describe())
            yield child, self._trains(child, story[-1])

    def _applied(self, move: Move, network: Network) -> Applied | None:
        try:
            applied = apply(move.edit, network)
        except EditRefused as refused:
            self.refused[f"{move.edit.kind}: {_reason(str(refused))}"] += 1
        except Exception as error:  # noqa: BLE001 - the point is to find them
            self.counts["edit_exceptions"] += 1
            self.faults.append(f"{move.edit.describe()}: {type(error).__name__}: {error}"[:300])
        else:
            self.counts["applied"] += 1
            return applied
        return None

    def _checked(self, applied: Applied, network: Network) -> Network | None:
        try:
            shape = network.profile.in_shape
            return check(applied.tree, network.catalog, shape, self.request["classes"], NO_BUDGET)
        except Fell as fell:
            self.counts[f"fell at {fell.gate}"] += 1
            self.refused[f"{fell.gate} gate: {_reason(str(fell))}"] += 1
        except Exception as error:  # noqa: BLE001 - the point is to find them
            self.counts["edit_exceptions"] += 1
            self.faults.append(f"check: {type(error).__name__}: {error}"[:300])
        return None

    def _trains(self, child: Network, edit: str) -> bool:
        """Build a child and run it; if it passes the gates, take a training step. Return whether it got so far."""
        try:
            torch.manual_seed(0)
            with quiet():
                net = build(child.tree, child.catalog)
                _finite_pass(net, self.images)
            self.counts["held_and_ran"] += 1
        except Exception as error:  # noqa: BLE001 - the point is to find them
            self.faults.append(f"run, after {edit}: {type(error).__name__}: {error}"[:300])
            return False
        try:
            check_profile(child.profile, self.request["classes"], self.budget)
            with quiet():
                real_pass(net, self.images, self.request["classes"])
        except Fell as fell:
            self.counts[f"fell at {fell.gate}"] += 1
            self.refused[f"{fell.gate} gate: {_reason(str(fell))}"] += 1
            return False
        self.counts["gated"] += 1
        try:
            with quiet():
                _step(net, self.images)
        except Exception as error:  # noqa: BLE001 - the point is to find them
            self.faults.append(f"step, after {edit}: {type(error).__name__}: {error}"[:300])
            return False
        self.counts["gated_and_trained"] += 1
        return True


def _finite_pass(net: nn.Module, images: torch.Tensor) -> None:
    """Run a network forward and backward.

    Raises:
        ValueError: something is not finite.
    """
    net.train()
    loss = nn.functional.cross_entropy(net(images), torch.arange(len(images)))
    loss.backward()
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    if not math.isfinite(loss.item()) or not all(torch.isfinite(g).all() for g in gradients):
        raise ValueError(f"the loss is {loss.item()}, or a gradient is not finite")
    net.zero_grad(set_to_none=True)


def _step(net: nn.Module, images: torch.Tensor) -> None:
    """Take a training step, and see that it leaves finite weights and moves them, where it is large enough to do so.

    Raises:
        ValueError: it does not.
    """
    net.train()
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    nn.functional.cross_entropy(net(images), torch.arange(len(images))).backward()
    optimizer.step()
    after = list(net.parameters())
    if not all(torch.isfinite(p).all() for p in after):
        raise ValueError("a weight is not finite after a step")
    steepest = max(float(p.grad.abs().max()) for p in after if p.grad is not None and p.numel())
    if steepest > _LARGE and all(torch.equal(a, b) for a, b in zip(before, after, strict=True)):
        raise ValueError("no weight has moved")


def _reason(message: str) -> str:
    """Return a message without its path, its numbers and its names, so that alike ones can be counted."""
    rest = message.split(": ", 1)[-1]
    rest = re.sub(r"\([\d, ]+\)", "(shape)", rest)
    return re.sub(r"\d+", "#", rest)[:120]
