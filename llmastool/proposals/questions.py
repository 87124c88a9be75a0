"""Questions: what plans leave open, as short lists for the filler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from llmastool import seeds
from llmastool.canonical import Json
from llmastool.filler.question import Choice, Free, Question
from llmastool.planner.archive import dominant_family
from llmastool.planner.plan import Plan
from llmastool.proposals.asked import Asked, Made
from llmastool.proposals.fresh import Drawn
from llmastool.proposals.pool import Child, Pool
from llmastool.proposals.wording import context, describe

_KEYS = "abcdefghijkl"


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
