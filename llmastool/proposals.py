"""From elites to questions: the pool of edits that hold, and the short lists that plans leave to the filler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from llmastool import seeds
from llmastool.candidate import Candidate
from llmastool.canonical import Json, dumps
from llmastool.errors import EditRefused
from llmastool.filler.question import MAX_CHOICES, Choice, Fill, Question
from llmastool.planner.plan import Option, Plan
from llmastool.trees.donors import Donors
from llmastool.trees.edits import apply
from llmastool.trees.gates import Budget, Fell, check
from llmastool.trees.moves import Group, Moves
from llmastool.trees.observe import Network
from llmastool.trees.offers import Move
from llmastool.trees.profile import Profile
from llmastool.trees.tree import Tree

_TRIES = 3
"""How many moves of a group are tried before the group is given up."""

_KEYS = "abcdefghijkl"


@dataclass(frozen=True)
class Child:
    """An edited tree that passed every gate before training."""

    parent: Network
    group: Group
    move: Move
    network: Network

    @property
    def tree(self) -> Tree:
        """The edited tree."""
        return self.network.tree


class Pool:
    """The edits that a round can choose from, over a set of parents."""

    def __init__(
        self,
        parents: Sequence[Network],
        moves: Moves,
        *,
        classes: int,
        budget: Budget,
        seen: set[str],
        rng: np.random.Generator,
        skip: Collection[str] = (),
        trying: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Make a pool.

        Args:
            parents: networks to edit, the best first; each can give subtrees to the others.
            moves: what can be done to them.
            classes: number of classes of the data.
            budget: how large a child may be.
            seen: ids of trees that were proposed already.
            rng: settles what is looked at.
            skip: edits that are not to be tried, by what `trying` was told of them.
            trying: told of every edit before mined code is run for it.
        """
        self.parents = {p.tree.id: p for p in parents}
        self.moves, self.donors = moves, Donors(parents)
        self.classes, self.budget, self.rng = classes, budget, rng
        self.skip, self.trying = skip, trying
        self._seen = set(seen)
        self._counts: Counter[str] = Counter()
        self._shown: dict[str, Child] = {}

    @property
    def counts(self) -> Mapping[str, int]:
        """How many edits were looked at, by the gate at which they fell; `ok` for none, `seen` for known trees."""
        return dict(sorted(self._counts.items()))

    @cached_property
    def _deck(self) -> list[tuple[str, Group]]:
        """Groups in the order in which they are looked at: parents, kinds and families take turns."""
        stacks: dict[tuple[str, str, str], list[tuple[str, Group]]] = {}
        for parent, network in self.parents.items():
            for group in self.moves.groups(network, self.donors):
                stacks.setdefault((parent, group.kind, group.family), []).append((parent, group))
        for stack in stacks.values():
            self.rng.shuffle(stack)
        names = sorted(stacks)
        deck = []
        for turn in range(max(map(len, stacks.values()), default=0)):
            deck += [stacks[names[i]][turn] for i in self.rng.permutation(len(names)) if turn < len(stacks[names[i]])]
        return deck

    def options(self, n: int) -> list[Option]:
        """Return up to `n` options of distinct groups, each shown through one child that passed the gates."""
        found: list[Option] = []
        for parent, group in self._deck:
            if len(found) == n:
                break
            child = next(self._children(parent, group, _TRIES), None)
            if child is not None:
                option = Option(
                    parent=parent, slot=group.slot, kind=group.kind, family=group.family, profile=child.network.profile
                )
                self._shown[option.key] = child
                found.append(option)
        return found

    def short_list(self, plan: Plan, taken: set[str]) -> list[Child]:
        """Return the children that a plan can lead to, the one that was shown first, without those in `taken`."""
        group = Group(plan.slot, plan.kind, plan.family)
        shown = self._shown[f"{plan.parent}/{plan.slot}/{plan.kind}/{plan.family}"]
        found = {shown.tree.id: shown} if shown.tree.id not in taken else {}
        for child in self._children(plan.parent, group, 2 * MAX_CHOICES):
            if len(found) == MAX_CHOICES:
                break
            if child.tree.id not in taken:
                found.setdefault(child.tree.id, child)
        return list(found.values())

    def _children(self, parent: str, group: Group, tries: int) -> Iterator[Child]:
        """Yield children of a group in random order, after at most `tries` edits."""
        network = self.parents[parent]
        for move in islice(self.moves.drawn(group, network, self.rng, self.donors), tries):
            child = self._child(network, group, move)
            if child is not None:
                yield child

    def _child(self, parent: Network, group: Group, move: Move) -> Child | None:
        name = f"{parent.tree.id}: {move.edit.key}"
        if name in self.skip:
            self._counts["crash"] += 1
            return None
        self.trying(name)
        try:
            tree = apply(move.edit, parent).tree
        except EditRefused:
            self._counts["edit"] += 1
            return None
        if tree.id in self._seen:
            self._counts["seen"] += 1
            return None
        try:
            network = check(tree, parent.catalog, parent.profile.in_shape, self.classes, self.budget)
        except Fell as fell:
            self._counts[fell.gate] += 1
            return None
        self._counts["ok"] += 1
        return Child(parent, group, move, network)


@dataclass(frozen=True)
class Made:
    """What an answer leads to."""

    tree: Tree
    change: str
    """What was done to the parent, in one line."""
    profile: Profile


@dataclass(frozen=True)
class Asked:
    """A plan with its question and what is behind the question's keys."""

    plan: Plan
    question: Question
    children: Mapping[str, Made]

    def candidate(self, fill: Fill, round: int, index: int) -> Candidate:
        """Return the candidate that an answer leads to."""
        child = self.children[fill.key]
        return Candidate(
            tree=child.tree,
            round=round,
            index=index,
            parent=self.plan.parent,
            change=child.change,
            plan=self.plan.to_json(),
            fill=fill.to_json(),
        )

    def to_json(self) -> Json:
        """Return a JSON value that `from_json` reads back."""
        children = {
            key: {"tree": c.tree.to_json(), "change": c.change, "profile": c.profile.to_json()}
            for key, c in self.children.items()
        }
        return {"plan": self.plan.to_json(), "question": asdict(self.question), "children": children}

    @staticmethod
    def from_json(value: Json) -> Asked:
        """Read what `to_json` wrote."""
        question = value["question"]
        choices = tuple(Choice(**choice) for choice in question["choices"])
        children = {
            key: Made(Tree.from_json(c["tree"]), c["change"], Profile.from_json(c["profile"]))
            for key, c in value["children"].items()
        }
        return Asked(Plan(**value["plan"]), Question(**{**question, "choices": choices}), children)


def questions_for(plans: Sequence[Plan], pool: Pool, seed: int, round: int) -> list[Asked]:
    """Return one question for each plan; short lists of a round share no tree, and a plan left with none is dropped."""
    found: list[Asked] = []
    taken: set[str] = set()
    for index, plan in enumerate(plans):
        children = pool.short_list(plan, taken)
        if not children:
            continue
        taken.update(c.tree.id for c in children)
        keyed = dict(zip(_KEYS, children, strict=False))
        choices = tuple(Choice(key=key, text=_describe(child)) for key, child in keyed.items())
        question = Question(
            context=_context(plan, children[0]), choices=choices, seed=seeds.derive(seed, "fill", round, index)
        )
        made = {key: Made(c.tree, c.move.edit.describe(), c.network.profile) for key, c in keyed.items()}
        found.append(Asked(plan, question, made))
    return found


def _describe(child: Child) -> str:
    """Return a choice in a few lines: what comes in, with which arguments, what it does, what it costs."""
    edit, entry = child.move.edit, child.move.entry
    lines = [edit.describe()]
    if edit.node is not None:
        parts = [n for _, n in edit.node.walk() if n.module != "torch.nn.Sequential"]
        lines.append("; ".join(f"{n.module.partition('@')[0]}({dumps(dict(n.args))[1:-1]})" for n in parts))
    if entry is not None and entry.docstring:
        lines.append(entry.docstring.splitlines()[0][:160])
    before, after = child.parent.profile, child.network.profile
    lines.append(
        f"parameters {before.parameters:,} -> {after.parameters:,}, flops {before.flops:,} -> {after.flops:,}, "
        f"depth {before.depth} -> {after.depth}"
    )
    return "\n".join(lines)


def _context(plan: Plan, child: Child) -> str:
    parent = child.parent
    slot = parent.slots[plan.slot]
    around = [s for s in parent.profile.slots if s.leaf]
    place = next((i for i, s in enumerate(around) if s.path.startswith(plan.slot)), 0)
    near = ", ".join(
        f"{s.path}: {s.module.rpartition('.')[2].partition('@')[0]}" for s in around[max(0, place - 3) : place + 4]
    )
    return "\n".join(
        (
            f"network of {parent.profile.parameters:,} parameters, input {parent.profile.in_shape[1:]}",
            f"slot {plan.slot}: {slot.module.partition('@')[0] or 'unknown'} ({slot.family}), "
            f"{slot.in_shape} -> {slot.out_shape}, stage {slot.stage}",
            f"around it: {near}",
            f"plan: {plan.kind}, family {plan.family}; chosen for {plan.reason} "
            f"(expected gain {plan.expected_gain:.2f} points, spread {plan.spread:.2f}, novelty {plan.novelty:.2f})",
        )
    )
