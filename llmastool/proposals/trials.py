"""Trying networks out: edits are made and passed through the gates that cost no computation, and counted by gate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from llmastool.errors import EditRefused, TreeError
from llmastool.trees.budget import Budget, Fell
from llmastool.trees.catalog import Catalog
from llmastool.trees.edits import Edit, apply
from llmastool.trees.gates import check
from llmastool.trees.moves import Group
from llmastool.trees.observe import Network
from llmastool.trees.profile import Shape
from llmastool.trees.tree import Tree


class Trials:
    """Tries edits and whole networks. Each is named before its mined code runs: should the process die, it was that."""

    def __init__(
        self,
        catalog: Catalog,
        in_shape: Shape,
        classes: int,
        budget: Budget,
        *,
        seen: Collection[str] = (),
        skip: Collection[str] = (),
        trying: Callable[[str], None] = lambda _: None,
        measure: Callable[[Tree], Mapping[str, float]] | None = None,
    ) -> None:
        """Begin a round.

        Args:
            catalog: where modules come from.
            in_shape: `(batch, channels, height, width)` of the data.
            classes: number of classes of the data.
            budget: how large a network may be.
            seen: ids of trees that are not to be proposed again.
            skip: what is not to be tried, by the names that `trying` was told.
            trying: told of everything before mined code is run for it.
            measure: as in `llmastool.trees.gates.check`.
        """
        self.catalog, self.in_shape = catalog, in_shape
        self.classes, self.budget, self.measure = classes, budget, measure
        self._seen, self._skip, self.trying = frozenset(seen), frozenset(skip), trying
        self._counts = Counter[str]()

    @property
    def counts(self) -> Mapping[str, int]:
        """How many networks were looked at, by the gate at which they fell; `ok` for none, `seen` for known trees."""
        return dict(sorted(self._counts.items()))

    def count(self, more: Mapping[str, int]) -> None:
        """Add what was counted in a copy of this process."""
        self._counts.update(more)

    def edited(self, parent: Network, edit: Edit, but: Collection[str] = ()) -> Network | None:
        """Return the network that an edit makes, observed; None where it falls, is known or is to be left out.

        Args:
            parent: what is edited.
            edit: what is done.
            but: ids of more trees that are known.
        """
        if not self._may(f"{parent.tree.id}: {edit.key}"):
            return None
        try:
            tree = apply(edit, parent).tree
        except EditRefused:
            self._counts["edit"] += 1
            return None
        if tree.id in self._seen or tree.id in but:
            self._counts["seen"] += 1
            return None
        return self._passed(tree)

    def base(self, tree: Tree) -> Network | None:
        """Return a network to edit, known or not and whatever its size; None where it fails or is to be left out."""
        if not self._may(tree.id):
            return None
        try:
            return Network(tree, self.catalog, self.in_shape)
        except TreeError:
            return None

    def _may(self, name: str) -> bool:
        if name in self._skip:
            self._counts["crash"] += 1
            return False
        self.trying(name)
        return True

    def _passed(self, tree: Tree) -> Network | None:
        try:
            network = check(tree, self.catalog, self.in_shape, self.classes, self.budget, self.measure)
        except Fell as fell:
            self._counts[fell.gate] += 1
            return None
        self._counts["ok"] += 1
        return network


def drawn_group(groups: Sequence[Group], rng: np.random.Generator) -> Group:
    """Draw a kind of edit, then a family, then a slot, lest what can be done at many slots comes most often.

    Args:
        groups: what can be done at a network, 1 or more.
        rng: draws.
    """
    for part in ("kind", "family"):
        names = sorted({getattr(group, part) for group in groups})
        name = names[int(rng.integers(len(names)))]
        groups = [group for group in groups if getattr(group, part) == name]
    return groups[int(rng.integers(len(groups)))]
