"""The filler without an LLM: a seeded draw by the prior weights of the choices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmastool.filler.ledger import Ledger
from llmastool.filler.question import Fill, Filler, Question
from llmastool.seeds import generator

RULES = "rules"
"""Name under which this filler signs."""


class RulesFiller(Filler):
    """Answers by drawing. What its ledger knows, be it an LLM's answer, is answered from there."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def fill(self, questions: Sequence[Question]) -> list[Fill]:
        """Answer the questions, in order, one fill each."""
        return self._ledger.settle(questions, draw)


def draw(question: Question) -> Fill:
    """Draw one of the choices by weight, the same one for the same question."""
    weights = np.array([choice.weight for choice in question.choices], dtype=np.float64)
    share = weights / weights.sum()
    pick = int(generator(question.seed, RULES).choice(len(share), p=share))
    return Fill(
        question=question.id,
        key=question.choices[pick].key,
        rationale=f"drawn at random by prior weight: {share[pick]:.0%} for this one of {len(share)}",
        filler=RULES,
    )
