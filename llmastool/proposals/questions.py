"""Questions: what plans leave open, as short lists for the filler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmastool import seeds
from llmastool.filler.question import Choice, Free, Question
from llmastool.planner.plan import Plan
from llmastool.proposals.asked import Asked, Made
from llmastool.proposals.pool import Answer, Child, Pool
from llmastool.proposals.wording import context, describe

_KEYS = "abcdefghijkl"


def questions_for(plans: Sequence[Plan], pool: Pool, seed: int, round: int) -> list[Asked]:
    """Return one question for each plan; short lists of a round share no tree, and a plan left with none is dropped."""
    found: list[Asked] = []
    taken: set[str] = set()
    for index, (plan, every) in enumerate(zip(plans, pool.answers(plans), strict=True)):
        answers = _untaken(every, taken)
        if not answers:
            continue
        keyed = dict(zip(_KEYS, answers, strict=False))
        question = Question(
            context="\n".join(context(plan, answers[0].made)),
            choices=tuple(_choice(key, answer) for key, answer in keyed.items()),
            seed=seeds.derive(seed, "fill", round, index),
        )
        found.append(Asked(plan, question, {key: _leads_to(answer) for key, answer in keyed.items()}))
    return found


def _untaken(answers: Sequence[Answer], taken: set[str]) -> list[Answer]:
    """Return answers without the networks of which the trees are taken, and take what is left."""
    left = [answer for answer in answers if answer.made.network.tree.id not in taken]
    free = [tuple((v, c) for v, c in answer.values if c.network.tree.id not in taken) for answer in left]
    taken.update(answer.made.network.tree.id for answer in left)
    taken.update(child.network.tree.id for values in free for _, child in values)
    return [
        replace(answer, values=values) if len(values) > 1 else Answer(answer.made)
        for answer, values in zip(left, free, strict=True)
    ]


def _choice(key: str, answer: Answer) -> Choice:
    made = answer.made
    free = Free(name=answer.free, values=tuple(value for value, _ in answer.values)) if answer.values else None
    entry = made.move.entry if isinstance(made, Child) else None
    module, family = entry.name if entry is not None else "", made.option.family
    return Choice(key=key, text=describe(made), free=free, module=module, family=family)


def _leads_to(answer: Answer) -> tuple[Made, ...]:
    every = tuple(child for _, child in answer.values) or (answer.made,)
    return tuple(Made(c.network.tree, c.change, c.network.profile) for c in every)
