"""Networks drawn anew: one of the start population, its skeletons scaled at random, and a few random edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from llmastool.planner.archive import dominant_family
from llmastool.planner.plan import FRESH, Option
from llmastool.proposals.trials import Trials, drawn_group
from llmastool.start import skeleton, variant
from llmastool.start_config import Skeleton
from llmastool.trees.moves import Moves
from llmastool.trees.observe import Network
from llmastool.trees.tree import Tree

MOST_EDITS = 4
"""Random edits, at most; there is always one."""

_TRIES = 6
"""How many groups of moves are tried for one edit."""


@dataclass(frozen=True)
class Drawn:
    """A network drawn anew that passed every gate before training."""

    change: str
    """What it began as, and what was done to that, in one line for a reader."""
    network: Network

    @property
    def option(self) -> Option:
        """The choice that this network is by itself."""
        profile, tree = self.network.profile, self.network.tree.id
        return Option(parent="", slot="", kind=FRESH, family=dominant_family(profile), profile=profile, tree=tree)


class Fresh:
    """Draws networks. What it draws depends on the start population and on chance, not on what was evaluated."""

    def __init__(
        self,
        skeletons: Sequence[Skeleton],
        mined: Sequence[tuple[str, Tree]],
        moves: Moves,
        trials: Trials,
    ) -> None:
        """Say what to begin with.

        Args:
            skeletons: skeletons of the start population.
            mined: its mined networks, each with its name, adapted to the data.
            moves: what can be done to networks.
            trials: tries what is drawn.
        """
        self._skeletons, self._mined = skeletons, mined
        self._moves, self._trials = moves, trials

    def draw(self, rng: np.random.Generator) -> Drawn | None:
        """Return a network; None where what was drawn falls at a gate or cannot be edited."""
        name, tree = self._base(rng)
        network, said = self._trials.base(tree), [name]
        for _ in range(rng.integers(1, MOST_EDITS + 1)):
            step = self._edited(network, rng) if network is not None else None
            if step is None:
                break
            network = step[0]
            said.append(step[1])
        return Drawn(", then ".join(said), network) if network is not None and len(said) > 1 else None

    def _base(self, rng: np.random.Generator) -> tuple[str, Tree]:
        index = int(rng.integers(len(self._skeletons) + len(self._mined)))
        if index >= len(self._skeletons):
            return self._mined[index - len(self._skeletons)]
        config = variant(self._skeletons[index], rng)
        return config.name, skeleton(config, self._trials.in_shape[1], self._trials.classes)

    def _edited(self, network: Network, rng: np.random.Generator) -> tuple[Network, str] | None:
        groups = self._moves.groups(network)
        for _ in range(_TRIES if groups else 0):
            group = drawn_group(groups, rng)
            for move in islice(self._moves.drawn(group, network, rng), 1):
                child = self._trials.edited(network, move.edit)
                if child is not None:
                    return child, move.edit.describe()
        return None
