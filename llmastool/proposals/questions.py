"""Questions: what plans leave open, as short lists for the filler, and what is behind each answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from llmastool import seeds
from llmastool.candidate import Candidate
from llmastool.canonical import Json, dumps
from llmastool.filler.question import Choice, Fill, Question
from llmastool.planner.plan import Option, Plan
from llmastool.proposals.fresh import Drawn
from llmastool.proposals.pool import Child, Pool
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
    children: Mapping[str, Made]

    def candidate(self, fill: Fill, round: int, index: int) -> Candidate:
        """Return the candidate that an answer leads to."""
        child = self.children[fill.key]
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
        """Return what the planner would choose from, were every choice of the question an option of its own."""
        plan = self.plan
        what = {"parent": plan.parent, "slot": plan.slot, "kind": plan.kind, "family": plan.family, "after": plan.after}
        return [Option(**what, profile=child.profile, tree=child.tree.id) for child in self.children.values()]

    def weighed(self, worths: Sequence[float]) -> Asked:
        """Return the same with what the planner expects of every choice, in the order of `options`."""
        known = dict(zip(self.children, worths, strict=True))
        choices = tuple(replace(choice, worth=known[choice.key]) for choice in self.question.choices)
        return replace(self, question=replace(self.question, choices=choices))

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
        taken.update(c.network.tree.id for c in children)
        keyed = dict(zip(_KEYS, children, strict=False))
        choices = tuple(Choice(key=key, text=_describe(child)) for key, child in keyed.items())
        question = Question(
            context="\n".join((*_context(plan, children[0]), _reason(plan))),
            choices=choices,
            seed=seeds.derive(seed, "fill", round, index),
        )
        made = {key: Made(c.network.tree, c.change, c.network.profile) for key, c in keyed.items()}
        found.append(Asked(plan, question, made))
    return found


def _describe(child: Child | Drawn) -> str:
    """Return a choice in a few lines: what comes in, with which arguments, what it does, what it costs."""
    after = child.network.profile
    if isinstance(child, Drawn):
        return f"{child.change}\nparameters {after.parameters:,}, flops {after.flops:,}, depth {after.depth}"
    edit, entry = child.move.edit, child.move.entry
    lines = [edit.describe()]
    if edit.node is not None:
        parts = [n for _, n in edit.node.walk() if n.module != "torch.nn.Sequential"]
        lines.append("; ".join(f"{n.module.partition('@')[0]}({dumps(dict(n.args))[1:-1]})" for n in parts))
    if entry is not None and entry.docstring:
        lines.append(entry.docstring.splitlines()[0][:160])
    before = child.parent.profile
    lines.append(
        f"parameters {before.parameters:,} -> {after.parameters:,}, flops {before.flops:,} -> {after.flops:,}, "
        f"depth {before.depth} -> {after.depth}"
    )
    return "\n".join(lines)


def _context(plan: Plan, child: Child | Drawn) -> list[str]:
    if isinstance(child, Drawn):
        return [f"a network drawn anew, input {child.network.profile.in_shape[1:]}"]
    parent = child.parent
    slot = parent.slots[plan.slot]
    around = [s for s in parent.profile.slots if s.leaf]
    place = next((i for i, s in enumerate(around) if s.path.startswith(plan.slot)), 0)
    near = ", ".join(
        f"{s.path}: {s.module.rpartition('.')[2].partition('@')[0]}" for s in around[max(0, place - 3) : place + 4]
    )
    return [
        f"network of {parent.profile.parameters:,} parameters, input {parent.profile.in_shape[1:]}",
        *([f"edited just now: {child.first.change}"] if child.first is not None else []),
        f"slot {plan.slot}: {slot.module.partition('@')[0] or 'unknown'} ({slot.family}), "
        f"{slot.in_shape} -> {slot.out_shape}, stage {slot.stage}",
        f"around it: {near}",
    ]


def _reason(plan: Plan) -> str:
    return (
        f"plan: {plan.kind}, family {plan.family}; chosen for {plan.reason} "
        f"(expected gain {plan.expected_gain:.2f} points, spread {plan.spread:.2f}, novelty {plan.novelty:.2f})"
    )
