"""NAS-Bench-201's cells as trees of mined modules, what the planner knows of each, and the edits between them."""

from __future__ import annotations

import itertools
import pickle
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from llmastool.canonical import digest
from llmastool.mining.mine import mine_source, write
from llmastool.mining.sources import SourceSpec
from llmastool.planner.plan import FRESH, Option, Wishes
from llmastool.planner.table import Table
from llmastool.registry.pool import ProbeConfig
from llmastool.registry.register import register
from llmastool.registry.store import Registry
from llmastool.trees.profile import Profile
from llmastool.trees.tree import Tree

SOURCE = Path(__file__).resolve().parent / "source" / "nb201"
OPERATIONS = {
    "none": "Nothing",
    "skip_connect": "SkipConnect",
    "nor_conv_1x1": "NorConv1x1",
    "nor_conv_3x3": "NorConv3x3",
    "avg_pool_3x3": "AvgPool3x3",
}
"""Classes of the mined source by the operations' names in the table."""

EDGES = ("edge_0_1", "edge_0_2", "edge_1_2", "edge_0_3", "edge_1_3", "edge_2_3")
"""Slots of the cell in the order in which the table names their operations."""

CHANNELS, SIDE = 16, 32
WEIGHTS = {"nor_conv_1x1": 1, "nor_conv_3x3": 9}
"""Weights of an operation, in units of those of a 1x1 convolution."""

Cell = tuple[str, ...]
"""The operations of the six edges."""


def cell(arch: str) -> Cell:
    """Read the table's name of a cell."""
    return tuple(re.findall(r"([a-z_0-9]+)~\d", arch))


def units(ops: Cell) -> int:
    """Return the weights on ways from the input to the output, in units of a 1x1 convolution."""
    pairs = [(int(edge[5]), int(edge[7])) for edge in EDGES]
    reached, needed = {0}, {3}
    for (a, b), op in zip(pairs, ops, strict=True):
        if a in reached and op != "none":
            reached.add(b)
    for (a, b), op in zip(reversed(pairs), reversed(ops), strict=True):
        if b in needed and op != "none":
            needed.add(a)
    live = (op for (a, b), op in zip(pairs, ops, strict=True) if a in reached and b in needed)
    return sum(WEIGHTS.get(op, 0) for op in live)


@dataclass(frozen=True)
class Space:
    """All cells, by position."""

    cells: tuple[Cell, ...]
    trees: tuple[str, ...]
    """Tree ids."""
    profiles: tuple[Profile, ...]
    families: dict[str, str]
    """Family of every operation."""
    units: np.ndarray
    """Effective parameters of every cell, in units of a 1x1 convolution."""
    index: dict[Cell, int]
    at: dict[str, int]
    """Position by tree id."""
    table: Table
    _drawn: dict[int, Option] = field(default_factory=dict)

    @staticmethod
    def of(cells: Sequence[Cell], trees: Sequence[str], profiles: Sequence[Profile], families: dict[str, str]) -> Space:
        """Take in all cells; their features are worked out once."""
        table = Table()
        table.add(zip(trees, profiles, strict=True))
        return Space(
            tuple(cells), tuple(trees), tuple(profiles), families,
            np.array([units(c) for c in cells]),
            {c: i for i, c in enumerate(cells)}, {t: i for i, t in enumerate(trees)}, table,
        )  # fmt: skip

    def options(self, wishes: Wishes, seen: set[int], open_: np.ndarray, rng: np.random.Generator) -> list[Option]:
        """Return the options that a strategy wishes for, of cells that are open and were not evaluated.

        Args:
            wishes: what is wished for.
            seen: positions of the cells that were evaluated.
            open_: which cells may be proposed, shape `(cells,)`.
            rng: draws the networks drawn anew, evenly over the space.
        """
        found: dict[int, Option] = {}
        parents = [self.at[tree] for tree in wishes.parents]
        singles = [(p, edit) for p in parents for edit in self._edits(p)]
        found |= self._made(((p, (edit,)) for p, edit in singles), wishes.edits, seen, open_, found)
        if wishes.doubles:
            pairs = ((p, (a, b)) for p in parents for a, b in itertools.combinations(self._edits(p), 2) if a[0] != b[0])
            found |= self._made(pairs, wishes.doubles, seen, open_, found)
        if wishes.fresh:
            left = open_.copy()
            left[[*seen, *found]] = False
            drawn = rng.permutation(np.flatnonzero(left))[: wishes.fresh].tolist()
            found |= {i: self.fresh(i) for i in drawn}
        return list(found.values())

    def _edits(self, position: int) -> list[tuple[int, str]]:
        """Return every other operation of every edge."""
        ops = self.cells[position]
        return [(edge, op) for edge in range(len(EDGES)) for op in OPERATIONS if op != ops[edge]]

    def _made(
        self,
        edits: Iterable[tuple[int, tuple[tuple[int, str], ...]]],
        most: int,
        seen: set[int],
        open_: np.ndarray,
        before: dict[int, Option],
    ) -> dict[int, Option]:
        found: dict[int, Option] = {}
        for parent, changes in edits:
            if len(found) >= most:
                break
            ops = list(self.cells[parent])
            for edge, op in changes:
                ops[edge] = op
            child = self.index[tuple(ops)]
            if open_[child] and child not in seen and child not in before and child not in found:
                found[child] = self._edited(parent, changes, child)
        return found

    def _edited(self, parent: int, changes: tuple[tuple[int, str], ...], child: int) -> Option:
        *first, (edge, op) = changes
        return Option(
            parent=self.trees[parent],
            # Nothing is left to a filler here, so the kind of edit says which operation comes in.
            kind=f"replace by {op}",
            slot=EDGES[edge],
            family=self.families[op],
            profile=self.profiles[child],
            tree=self.trees[child],
            after=", ".join(f"{EDGES[e]} by {o}" for e, o in first),
        )

    def fresh(self, position: int) -> Option:
        """Return a cell as a network drawn anew."""
        if position in self._drawn:
            return self._drawn[position]
        family = self.families[self.cells[position][0]]
        profile, tree = self.profiles[position], self.trees[position]
        option = Option(parent="", slot="", kind=FRESH, family=family, profile=profile, tree=tree)
        self._drawn[position] = option
        return option


def registry(work: Path) -> Path:
    """Mine and probe the source of the cell, once; return the registry's folder."""
    folder = work / "registry"
    if not folder.exists():
        write([mine_source(SourceSpec(kind="path", path=str(SOURCE)))], work / "mined")
        register(work / "mined", folder, ProbeConfig(), work / "probes.jsonl")
    return folder


def load(table: Path, work: Path) -> Space:
    """Return the space of a table of accuracies; its networks are looked at once (two minutes) and kept in `work`."""
    work.mkdir(parents=True, exist_ok=True)
    cells = [cell(arch) for arch in pl.read_parquet(table)["arch"]]
    opened = Registry.open(registry(work))
    names = {bundle.name.rpartition(".")[2]: bundle.id for bundle in opened.bundles.values()}
    # What is seen of networks depends on the code that looks.
    code = Path(__file__).resolve().parent.parent.parent / "llmastool" / "trees"
    key = digest([names, *(path.read_text() for path in sorted(code.glob("*.py")))])[:16]
    kept = work / f"profiles-{key}.pickle"
    if not kept.exists():
        from llmastool.workbench.client import Workbench

        with Workbench(registry(work), (2, CHANNELS, SIDE, SIDE)) as bench:
            trees = [tree(ops, names) for ops in cells]
            kept.write_bytes(pickle.dumps([(t.id, bench.look(t)) for t in trees]))
    ids, profiles = zip(*pickle.loads(kept.read_bytes()), strict=True)
    families = {op: opened.family(names[name]) for op, name in OPERATIONS.items()}
    return Space.of(cells, ids, profiles, families)


def tree(ops: Cell, names: dict[str, str]) -> Tree:
    """Return the cell with these operations; `names` gives the module id of each class."""
    children = []
    for edge, op in zip(EDGES, ops, strict=True):
        name = OPERATIONS[op]
        args = {"channels": CHANNELS} if name.startswith("NorConv") else {}
        children.append((edge, Tree(names[name], args)))
    return Tree(names["Cell"], {"channels": CHANNELS}, tuple(children))
