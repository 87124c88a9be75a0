"""The pool of a round: edits of some networks that hold, pairs of edits, and networks drawn anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from typing import TypeAlias

import numpy as np

from llmastool import seeds
from llmastool.canonical import Json
from llmastool.filler.question import MAX_CHOICES
from llmastool.planner.plan import Option, Plan
from llmastool.proposals.crew import Crew
from llmastool.proposals.fresh import Drawn, Fresh
from llmastool.proposals.trials import Trials, drawn_group
from llmastool.trees.adapters import STYLES
from llmastool.trees.axes import layout_of, sizes_of
from llmastool.trees.diff import differences
from llmastool.trees.donors import Donors
from llmastool.trees.edits import ADAPTED
from llmastool.trees.moves import Group, Moves
from llmastool.trees.observe import Network
from llmastool.trees.offers import Move
from llmastool.trees.profile import Slot

_TRIES = 3
"""How many moves of a group are tried before the group is given up."""

MOST_VALUES = 4
"""Values that are looked at of what one network leaves free."""

MOST_VARIANTS = 12
"""Networks that are looked at for what all of a plan's leave free."""

_DRAWS = 4
"""How many pairs of edits, or networks, are drawn for each that is wanted, at most."""

_CLEARING = ("replace", "delete", "graft")
"""Kinds of edit that keep nothing of what stood in the slot."""


@dataclass(frozen=True)
class Child:
    """An edited network that passed every gate before training."""

    parent: Network
    """What was edited."""
    group: Group
    move: Move
    network: Network
    first: Child | None = None
    """What `parent` came of, where it was edited in this round too."""

    @property
    def change(self) -> str:
        """What was done, in one line for a reader."""
        last = self.move.edit.describe()
        return f"{self.first.change}, then {last}" if self.first is not None else last

    @property
    def option(self) -> Option:
        """The coarse choice that this child stands for."""
        origin = self.first.parent if self.first is not None else self.parent
        return Option(
            parent=origin.tree.id,
            slot=self.group.slot,
            kind=self.group.kind,
            family=self.group.family,
            profile=self.network.profile,
            tree=self.network.tree.id,
            after=f"{self.first.change} ({self.first.move.edit.key})" if self.first is not None else "",
        )


Made: TypeAlias = Child | Drawn
"""A network that a round can come to."""


@dataclass(frozen=True)
class Answer:
    """One of the networks that a plan can lead to, and what it leaves free."""

    made: Made
    free: str = ""
    """Name of the one thing that is free: an argument of what comes in, or else the adapter behind it."""
    values: tuple[tuple[Json, Child], ...] = ()
    """Its values with what comes of each, first that of `made`; none where only one of them holds."""


class Pool:
    """What a round can choose from."""

    def __init__(
        self,
        parents: Sequence[Network],
        moves: Moves,
        trials: Trials,
        fresh: Fresh,
        seed: seeds.Seed,
        processes: int = 1,
    ) -> None:
        """Make a pool.

        Args:
            parents: networks to edit, the best first; each can give subtrees to the others.
            moves: what can be done to them.
            trials: tries what is made.
            fresh: draws networks anew.
            seed: what the draws are derived from; see `seeds.generator`.
            processes: how many build networks side by side.
        """
        self.parents = {p.tree.id: p for p in parents}
        self.moves, self.trials, self.fresh, self.seed = moves, trials, fresh, seed
        self.donors = Donors(parents)
        self._crew = Crew(trials, processes, parents)
        self._shown: dict[str, Made] = {}
        self._trees: set[str] = set()

    def options(self, edits: int, doubles: int = 0, fresh: int = 0) -> list[Option]:
        """Return what there is to choose from, every option shown through a network that passed the gates.

        Args:
            edits: how many single edits at most, of distinct groups.
            doubles: how many pairs of edits at most; the first of each is one of the single edits.
            fresh: how many networks drawn anew at most.
        """
        return [*self._singles(edits), *self._doubles(doubles), *self._anew(fresh)]

    def answers(self, plans: Sequence[Plan]) -> list[list[Answer]]:
        """Return for each plan the networks that it can lead to, the one that was shown first.

        They are all different; those of two plans may be the same. A network drawn anew leads to itself alone.
        """
        with closing(self._crew.results([partial(self._answers, plan) for plan in plans])) as answers:
            return list(answers)

    def _answers(self, plan: Plan) -> list[Answer]:
        shown = self._shown[plan.key]
        if isinstance(shown, Drawn):
            return [Answer(shown)]
        children = self._short_list(plan, shown)
        found, taken, tries = [], {child.network.tree.id for child in children}, MOST_VARIANTS
        for child in children:
            name, moves = self._free(child) if tries > 0 else ("", [])
            held: list[tuple[Json, Child]] = []
            for value, move in moves[: min(MOST_VALUES, tries + 1)]:
                if move is child.move:
                    held.append((value, child))
                    continue
                tries -= 1
                network = self.trials.edited(child.parent, move.edit, but=taken)
                if network is not None:
                    taken.add(network.tree.id)
                    held.append((value, replace(child, move=move, network=network)))
            found.append(Answer(child, name, tuple(held)) if len(held) > 1 else Answer(child))
        return found

    def _short_list(self, plan: Plan, shown: Child) -> list[Child]:
        found = {shown.network.tree.id: shown}
        rng = self._rng("short list", plan.key)
        for child in self._children(shown.parent, shown.group, shown.first, rng, 2 * MAX_CHOICES):
            if len(found) == MAX_CHOICES:
                break
            found.setdefault(child.network.tree.id, child)
        return list(found.values())

    def _free(self, child: Child) -> tuple[str, list[tuple[Json, Move]]]:
        """Return the name of what a network leaves free, and the moves by its values, its own first."""
        move, rng = child.move, self._rng("free", child.network.tree.id)
        if move.free:
            name = sorted(move.free)[int(rng.integers(len(move.free)))]
            first, *others = move.free[name]
            order = [others[i] for i in rng.permutation(len(others))]
            return name, [(first, move), *((value, move.with_argument(name, value)) for value in order)]
        slot = child.parent.slots[child.group.slot]
        first, *others = STYLES
        styles = others if _rescales(slot) and child.group.kind in ADAPTED else []
        return "adapter", [(first, move), *((style, move.with_adapter(style)) for style in styles)]

    def _rng(self, *names: str | int) -> np.random.Generator:
        return seeds.generator(*self.seed, *names)

    # -- single edits --------------------------------------------------------------------------------------------

    def _singles(self, n: int) -> list[Option]:
        tasks = [partial(self._single, place) for place in range(len(self._deck) if n else 0)]
        return self._some(n, tasks, lambda _: True)

    def _single(self, place: int) -> Child | None:
        parent, group = self._deck[place]
        return next(self._children(parent, group, None, self._rng("edits", place), _TRIES), None)

    def _some(self, n: int, tasks: Sequence[Callable[[], Made | None]], wanted: Callable[[Made], bool]) -> list[Option]:
        """Return the options of the first so many networks that tasks come to and that are wanted."""
        found: list[Option] = []
        with closing(self._crew.results(tasks if n else ())) as results:
            for made in results:
                if made is not None and wanted(made):
                    found.append(self._show(made))
                if len(found) == n:
                    break
        return found

    @cached_property
    def _deck(self) -> list[tuple[Network, Group]]:
        """Groups in the order in which they are looked at: parents, kinds and families take turns."""
        rng, stacks = self._rng("deck"), dict[tuple[str, str, str], list[tuple[Network, Group]]]()
        for name, network in self.parents.items():
            for group in self.moves.groups(network, self.donors):
                stacks.setdefault((name, group.kind, group.family), []).append((network, group))
        for stack in stacks.values():
            rng.shuffle(stack)
        names = sorted(stacks)
        deck = []
        for turn in range(max(map(len, stacks.values()), default=0)):
            deck += [stacks[names[i]][turn] for i in rng.permutation(len(names)) if turn < len(stacks[names[i]])]
        return deck

    def _children(
        self, parent: Network, group: Group, first: Child | None, rng: np.random.Generator, tries: int
    ) -> Iterator[Child]:
        """Yield children of a group in random order, after at most `tries` edits."""
        for move in islice(self.moves.drawn(group, parent, rng, self.donors), tries):
            network = self.trials.edited(parent, move.edit)
            if network is not None:
                yield Child(parent, group, move, network, first)

    def _show(self, made: Made) -> Option:
        option = made.option
        self._shown[option.key] = made
        self._trees.add(option.tree)
        return option

    def _is_new(self, made: Made) -> bool:
        return made.option.key not in self._shown and made.network.tree.id not in self._trees

    # -- pairs of edits, and networks drawn anew -----------------------------------------------------------------

    def _doubles(self, n: int) -> list[Option]:
        rng, firsts = self._rng("doubles"), [child for child in self._shown.values() if isinstance(child, Child)]
        order = [int(i) for _ in range(-(-_DRAWS * n // max(len(firsts), 1))) for i in rng.permutation(len(firsts))]
        tasks = [
            partial(self._grandchild, firsts[i], self._rng("double", place))
            for place, i in enumerate(order[: _DRAWS * n])
        ]
        return self._some(n, tasks, self._is_new)

    def _grandchild(self, first: Child, rng: np.random.Generator) -> Child | None:
        changed = [d.path for d in differences(first.parent.tree, first.network.tree)]
        groups = [g for g in self.moves.groups(first.network, self.donors) if not _undoes(g, changed)]
        if not groups:
            return None
        return next(self._children(first.network, drawn_group(groups, rng), first, rng, _TRIES), None)

    def _anew(self, n: int) -> list[Option]:
        tasks = [partial(self.fresh.draw, self._rng("fresh", number)) for number in range(_DRAWS * n)]
        return self._some(n, tasks, self._is_new)


def _rescales(slot: Slot) -> bool:
    """Whether the resolution behind a slot is another than before it."""
    sizes = []
    for shape in (slot.in_shape, slot.out_shape):
        layout = layout_of(shape) if shape is not None else None
        sizes.append(sizes_of(shape, layout) if shape is not None and layout is not None else ())
    return sizes[0] != sizes[1]


def _undoes(group: Group, changed: Sequence[str]) -> bool:
    """Whether a second edit leaves nothing of what a first one changed, so that the pair would be a single edit."""
    return group.kind in _CLEARING and all(
        f"{path}.".startswith(f"{group.slot}." if group.slot else "") for path in changed
    )
