"""How fast one core edits: propose, check at the slot, and pass the shape gate; hashing, and distances."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mining_parts.forked import Tell, Work
from llmastool.canonical import Json
from llmastool.errors import EditRefused
from llmastool.registry.capture import watching
from llmastool.trees.budget import Budget, Fell
from llmastool.trees.catalog import Catalog
from llmastool.trees.distance import distance, signature
from llmastool.trees.edits import apply
from llmastool.trees.gates import check
from llmastool.trees.moves import Moves
from llmastool.trees.observe import Network
from llmastool.trees.tree import Tree

_TIMES = 200
"""How often hashing and distance are measured."""


def prepare(request: Json) -> tuple[Sequence[Json], Work]:
    """Open the registry.

    Args:
        request: `registry`, a folder; `in_shape`, `classes`, `budget`; `edits`, how many to time; `items`, each with a
            `tree`.
    """
    catalog = Catalog.open(Path(request["registry"]))

    def work(item: Json, tell: Tell) -> None:
        with watching():  # as in the workbench
            network = Network(Tree.from_json(item["tree"]), catalog, tuple(request["in_shape"]))
            tell(_edits(network, request))
            tell(_sizes(network, request))

    return request["items"], work


def _edits(network: Network, request: Json) -> Json:
    """Time edits of one network, group after group, what is remembered of fits left in its memory or not."""
    moves, rng, counts = Moves(network.catalog), np.random.default_rng(0), Counter[str]()
    started = time.perf_counter()
    groups = moves.groups(network)
    cold = time.perf_counter() - started
    started = time.perf_counter()
    groups = moves.groups(network)
    stacks: dict[tuple[str, str], list[Any]] = {}
    for group in groups:
        stacks.setdefault((group.kind, group.family), []).append(group)
    names = sorted(stacks)
    listing = time.perf_counter() - started
    while counts["edits"] < request["edits"]:
        stack = stacks[names[int(rng.integers(len(names)))]]
        for move in islice(moves.drawn(stack[int(rng.integers(len(stack)))], network, rng), 1):
            counts["edits"] += 1
            try:
                tree = apply(move.edit, network).tree
                check(tree, network.catalog, network.profile.in_shape, request["classes"], Budget(**request["budget"]))
                counts["passed"] += 1
            except EditRefused:
                counts["refused"] += 1
            except Fell:
                counts["fell"] += 1
    seconds = time.perf_counter() - started
    return {
        "slots": len(network.profile.slots), **counts, "edits_per_second": counts["edits"] / seconds,
        "passed_per_second": counts["passed"] / seconds, "groups": len(groups), "groups_first_seconds": cold,
        "groups_again_seconds": listing,
    }  # fmt: skip


def _sizes(network: Network, request: Json) -> Json:
    """Time the hash of a tree whose nodes are all stored, and the distance of two, signatures included."""
    value = network.tree.to_json()
    fresh = iter([Tree.from_json(value) for _ in range(_TIMES)])
    hashing = _mean_ms(lambda: next(fresh).id)
    move = next(
        m
        for m in (next(Moves(network.catalog).drawn(g, network, np.random.default_rng(1)), None)
                  for g in Moves(network.catalog).groups(network) if g.kind == "insert")
        if m is not None
    )  # fmt: skip
    other = Network(apply(move.edit, network).tree, network.catalog, network.profile.in_shape)
    whole = _mean_ms(lambda: distance(signature(network.profile), signature(other.profile)))
    a, b = signature(network.profile), signature(other.profile)
    return {
        "nodes": sum(1 for _ in network.tree.walk()), "hash_ms": hashing, "distance_ms": whole,
        "distance_ms_with_signatures_known": _mean_ms(lambda: distance(a, b)), "classes": request["classes"],
    }  # fmt: skip


def _mean_ms(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    for _ in range(_TIMES):
        run()
    return 1000 * (time.perf_counter() - started) / _TIMES
