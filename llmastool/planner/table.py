"""The features of many networks as matrices, worked out once for every network."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from llmastool.planner.features import GROUPS, SIZES, UNKNOWN, features, label
from llmastool.trees.profile import Profile

Floats: TypeAlias = NDArray[np.float64]
"""An array of numbers."""

Values: TypeAlias = Mapping[str, Floats]
"""By group: the features of some networks, shape `(networks, columns)`."""


@dataclass(frozen=True)
class View:
    """The features of some networks of a table."""

    columns: Mapping[str, Sequence[str]]
    """Names of every group's columns, in order."""
    kin: Mapping[str, str]
    """Family of every column of the group `module`."""
    _rows: Mapping[str, int]
    _matrices: Mapping[str, csr_array]
    _families: Sequence[frozenset[str]]

    def names(self, group: str) -> list[str]:
        """Return the names of a group's columns, in order."""
        return list(self.columns[group])

    def families(self, tree: str) -> frozenset[str]:
        """Return the families of all known modules in a network."""
        return self._families[self._rows[tree]]

    def values(self, trees: Sequence[str]) -> dict[str, Floats]:
        """Return the features of some of the networks, by group, shape `(trees, columns)`."""
        rows = [self._rows[tree] for tree in trees]
        return {group: matrix[rows].toarray() for group, matrix in self._matrices.items()}

    def only(self, trees: Iterable[str], after: View | None = None) -> View:
        """Return a view of fewer networks, as it would be had nothing else ever been: columns by name, none empty.

        Sums over columns depend in their last digits on what else there is and in which order it came.

        Args:
            trees: ids of the networks.
            after: an earlier view of this table, whose columns come first, in their places.
        """
        ids = list(dict.fromkeys(trees))
        rows = [self._rows[tree] for tree in ids]
        columns, matrices = {}, {}
        for group, matrix in self._matrices.items():
            part, names = matrix[rows], self.columns[group]
            place_of = {name: i for i, name in enumerate(names)}
            known = SIZES if group == "cost" else ()
            first = [place_of[name] for name in (known if after is None else after.columns[group])]
            used = set(np.flatnonzero(np.bincount(part.indices, minlength=len(names))).tolist())
            order = [*first, *sorted(used.difference(first), key=names.__getitem__)]
            columns[group] = [names[i] for i in order]
            place = np.zeros(len(names), dtype=np.int32)
            place[order] = np.arange(len(order), dtype=np.int32)
            matrices[group] = csr_array((part.data, place[part.indices], part.indptr), shape=(len(ids), len(order)))
        families = [self._families[row] for row in rows]
        return View(columns, self.kin, {tree: i for i, tree in enumerate(ids)}, matrices, families)


class Table:
    """Features by tree id. A column keeps its place when others are added behind it.

    What is asked for again is not computed again; it changes nothing of what is answered.
    """

    def __init__(self) -> None:
        self._columns: dict[str, dict[str, int]] = {group: {} for group in GROUPS}
        self._columns["cost"] = {name: i for i, name in enumerate(SIZES)}
        self._rows: dict[str, int] = {}
        self._cells: dict[str, list[tuple[NDArray[np.intp], Floats]]] = {group: [] for group in GROUPS}
        self._families: list[frozenset[str]] = []
        self._kin: dict[str, str] = {}
        self._view: View | None = None

    def add(self, networks: Iterable[tuple[str, Profile]]) -> list[str]:
        """Take in networks, each with its tree's id, and return the ids in their order."""
        return [self._add(tree, profile) for tree, profile in networks]

    def __contains__(self, tree: str) -> bool:
        return tree in self._rows

    def forget(self, trees: Collection[str]) -> None:
        """Leave networks out from now on."""
        kept = [(tree, row) for tree, row in self._rows.items() if tree not in trees]
        if len(kept) < len(self._rows):
            self._view = None
            self._rows = {tree: i for i, (tree, _) in enumerate(kept)}
            self._families = [self._families[row] for _, row in kept]
            self._cells = {group: [cells[row] for _, row in kept] for group, cells in self._cells.items()}

    @property
    def view(self) -> View:
        """All networks that were added."""
        if self._view is None:
            names = {group: list(columns) for group, columns in self._columns.items()}
            matrices = {group: self._matrix(group) for group in GROUPS}
            self._view = View(names, self._kin, self._rows, matrices, self._families)
        return self._view

    def only(self, trees: Iterable[str], after: View | None = None) -> View:
        """Return some of the networks; see `View.only`."""
        return self.view.only(trees, after)

    def names(self, group: str) -> list[str]:
        """Return the names of a group's columns, in order."""
        return self.view.names(group)

    def families(self, tree: str) -> frozenset[str]:
        """Return the families of all known modules in a network that was added."""
        return self._families[self._rows[tree]]

    def values(self, trees: Sequence[str]) -> dict[str, Floats]:
        """Return the features of trees that were added, by group, shape `(trees, columns)`."""
        return self.view.values(trees)

    def _add(self, tree: str, profile: Profile) -> str:
        if tree not in self._rows:
            self._view = None
            self._rows[tree] = len(self._rows)
            self._families.append(frozenset(slot.family for slot in profile.slots) - {UNKNOWN})
            self._kin.update((label(slot), slot.family) for slot in profile.slots)
            for group, numbers in features(profile).items():
                columns = self._columns[group]
                at = np.array([columns.setdefault(name, len(columns)) for name in numbers], dtype=np.intp)
                self._cells[group].append((at, np.array(list(numbers.values()), dtype=np.float64)))
        return tree

    def _matrix(self, group: str) -> csr_array:
        cells = self._cells[group]
        ends = np.cumsum([0, *(len(at) for at, _ in cells)])
        columns, numbers = (np.concatenate([cell[i] for cell in cells] or [np.zeros(0)]) for i in (0, 1))
        return csr_array((numbers, columns.astype(np.int32), ends), shape=(len(cells), len(self._columns[group])))
