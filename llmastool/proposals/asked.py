"""A plan with its question and what is behind each answer: what the search gets of a network's possible edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice

from llmastool.candidate import Candidate
from llmastool.canonical import Json
from llmastool.filler.question import Fill, Question
from llmastool.planner.plan import Option, Plan
from llmastool.trees.profile import Profile
from llmastool.trees.tree import Tree


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
