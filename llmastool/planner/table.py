"""The features of many networks as matrices, worked out once for every network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from llmastool.planner.features import GROUPS, SIZES, UNKNOWN, features
from llmastool.trees.profile import Profile

Floats: TypeAlias = NDArray[np.float64]
"""An array of numbers."""

Values: TypeAlias = Mapping[str, Floats]
"""By group: the features of some networks, shape `(networks, columns)`."""


class Table:
    """Features by tree id. A column keeps its place when others are added behind it.

    What is asked for again is not computed again; it changes nothing of what is answered.
    """

    def __init__(self) -> None:
        self._columns: dict[str, dict[str, int]] = {group: {} for group in GROUPS}
        self._columns["cost"] = {name: i for i, name in enumerate(SIZES)}
        self._rows: dict[str, int] = {}
        self._cells: dict[str, list[tuple[NDArray[np.intp], Floats]]] = {group: [] for group in GROUPS}
        self._matrices: dict[str, csr_array] = {}
        self._families: list[frozenset[str]] = []

    def add(self, networks: Iterable[tuple[str, Profile]]) -> list[str]:
        """Take in networks, each with its tree's id, and return the ids in their order."""
        return [self._add(tree, profile) for tree, profile in networks]

    def only(self, trees: Iterable[str]) -> Table:
        """Return a table of trees that were added, as it would be had nothing else ever been.

        Sums over columns depend in their last digits on what else there is and in which order it came.
        """
        table, ids = Table(), list(dict.fromkeys(trees))
        rows = [self._rows[tree] for tree in ids]
        table._rows = {tree: i for i, tree in enumerate(ids)}
        table._families = [self._families[row] for row in rows]
        for group, columns in self._columns.items():
            cells = [self._cells[group][row] for row in rows]
            fixed = np.arange(len(table._columns[group]))
            old, first = np.unique(np.concatenate([fixed, *(at for at, _ in cells)]), return_index=True)
            old = old[np.argsort(first)]
            place = np.zeros(len(columns), dtype=np.intp)
            place[old] = np.arange(len(old))
            names = list(columns)
            table._columns[group] = {names[column]: i for i, column in enumerate(old.tolist())}
            table._cells[group] = [(place[at], numbers) for at, numbers in cells]
        return table

    def names(self, group: str) -> list[str]:
        """Return the names of a group's columns, in order."""
        return list(self._columns[group])

    def families(self, tree: str) -> frozenset[str]:
        """Return the families of all known modules in a network that was added."""
        return self._families[self._rows[tree]]

    def values(self, trees: Sequence[str]) -> dict[str, Floats]:
        """Return the features of trees that were added, by group, shape `(trees, columns)`."""
        rows = [self._rows[tree] for tree in trees]
        if not self._matrices:
            self._matrices = {group: self._matrix(group) for group in GROUPS}
        return {group: matrix[rows].toarray() for group, matrix in self._matrices.items()}

    def _add(self, tree: str, profile: Profile) -> str:
        if tree not in self._rows:
            self._rows[tree] = len(self._rows)
            self._matrices = {}
            self._families.append(frozenset(slot.family for slot in profile.slots) - {UNKNOWN})
            for group, numbers in features(profile).items():
                columns = self._columns[group]
                at = np.array([columns.setdefault(name, len(columns)) for name in numbers], dtype=np.intp)
                self._cells[group].append((at, np.array(list(numbers.values()), dtype=np.float64)))
        return tree

    def _matrix(self, group: str) -> csr_array:
        cells = self._cells[group]
        ends = np.cumsum([0, *(len(at) for at, _ in cells)])
        columns, numbers = (np.concatenate([cell[i] for cell in cells] or [np.zeros(0)]) for i in (0, 1))
        return csr_array((numbers, columns, ends), shape=(len(cells), len(self._columns[group])))
