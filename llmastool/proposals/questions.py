"""Questions: what plans leave open, as short lists for the filler, and what is behind each answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TypeAlias

from llmastool import seeds
from llmastool.candidate import Candidate
from llmastool.canonical import Json
from llmastool.filler.question import Choice, Fill, Free, Question
from llmastool.planner.archive import dominant_family
from llmastool.planner.plan import Option, Plan
from llmastool.proposals.fresh import Drawn
from llmastool.proposals.pool import Child, Pool
from llmastool.proposals.wording import context, describe
from llmastool.trees.profile import Profile
from llmastool.trees.tree import Tree

_KEYS = "abcdefghijkl"


@dataclass(frozen=True)
class Made:
    """What an answer leads to."""

    tree: Tree
    change: str
    """What was done to the parent, or how the network was drawn, in one line."""
    profile: Profile


@dataclass(frozen=True)
class Asked:
    """A plan with its question and what is behind the question's keys."""

    plan: Plan
    question: Question
    children: Mapping[str, tuple[Made, ...]]
    """By key, what each value of what the choice leaves free leads to; one where it leaves nothing free."""

    def made(self, fill: Fill) -> Made:
        """Return what an answer leads to."""
        return self.children[fill.key][fill.value]

    def candidate(self, fill: Fill, round: int, index: int) -> Candidate:
        """Return the candidate that an answer leads to."""
        child = self.made(fill)
        return Candidate(
            tree=child.tree,
            round=round,
            index=index,
            parent=self.plan.parent or None,
            change=child.change,
            plan=self.plan.to_json(),
            fill=fill.to_json(),
        )

    def options(self) -> list[Option]:
        """Return what the planner would choose from, were every answer to the question an option of its own."""
        plan = self.plan
        what = {"parent": plan.parent, "slot": plan.slot, "kind": plan.kind, "family": plan.family, "after": plan.after}
        every = [child for children in self.children.values() for child in children]
        return [Option(**what, profile=child.profile, tree=child.tree.id) for child in every]

    def weighed(self, worths: Sequence[float]) -> Asked:
        """Return the same with what the planner expects of every answer, in the order of `options`."""
        rest = iter(worths)
        known = {key: tuple(islice(rest, len(children))) for key, children in self.children.items()}
        choices = tuple(replace(choice, worths=known[choice.key]) for choice in self.question.choices)
        return replace(self, question=replace(self.question, choices=choices))

    def told(self, lines: Sequence[str]) -> Asked:
        """Return the same with more in the question's context."""
        context = "\n".join((self.question.context, *lines))
        return replace(self, question=replace(self.question, context=context))

    def to_json(self) -> Json:
        """Return a JSON value that `from_json` reads back."""
        children = {
            key: [{"tree": c.tree.to_json(), "change": c.change, "profile": c.profile.to_json()} for c in made]
            for key, made in self.children.items()
        }
        return {"plan": self.plan.to_json(), "question": asdict(self.question), "children": children}

    @staticmethod
    def from_json(value: Json) -> Asked:
        """Read what `to_json` wrote."""
        children = {
            key: tuple(Made(Tree.from_json(c["tree"]), c["change"], Profile.from_json(c["profile"])) for c in made)
            for key, made in value["children"].items()
        }
        return Asked(Plan(**value["plan"]), Question.from_json(value["question"]), children)


def questions_for(plans: Sequence[Plan], pool: Pool, seed: int, round: int) -> list[Asked]:
    """Return one question for each plan; short lists of a round share no tree, and a plan left with none is dropped."""
    found: list[Asked] = []
    taken: set[str] = set()
    for index, plan in enumerate(plans):
        children = pool.short_list(plan, taken)
        if not children:
            continue
        taken.update(c.network.tree.id for c in children)
        keyed = dict(zip(_KEYS, children, strict=False))
        variants = pool.variants([child for child in children if isinstance(child, Child)], taken)
        choices = tuple(_choice(key, child, variants.get(child.network.tree.id)) for key, child in keyed.items())
        question = Question(
            context="\n".join(context(plan, children[0])),
            choices=choices,
            seed=seeds.derive(seed, "fill", round, index),
        )
        leads = {key: _leads_to(child, variants.get(child.network.tree.id)) for key, child in keyed.items()}
        found.append(Asked(plan, question, leads))
    return found


Variants: TypeAlias = tuple[str, list[tuple[Json, Child]]]
"""The name of what a network leaves free, and its values with what comes of each."""


def _choice(key: str, child: Child | Drawn, variants: Variants | None) -> Choice:
    free = Free(name=variants[0], values=tuple(value for value, _ in variants[1])) if variants is not None else None
    entry = child.move.entry if isinstance(child, Child) else None
    family = child.group.family if isinstance(child, Child) else dominant_family(child.network.profile)
    return Choice(
        key=key, text=describe(child), free=free, module=entry.name if entry is not None else "", family=family
    )


def _leads_to(child: Child | Drawn, variants: Variants | None) -> tuple[Made, ...]:
    every = [child] if variants is None else [variant for _, variant in variants[1]]
    return tuple(Made(c.network.tree, c.change, c.network.profile) for c in every)
