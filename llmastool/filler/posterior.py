"""The filler that follows the planner: of every short list it takes what the planner expects most of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmastool.filler.ledger import Ledger
from llmastool.filler.question import Fill, Filler, Question
from llmastool.filler.rules import draw

POSTERIOR = "posterior"
"""Name under which this filler signs."""


class PosteriorFiller(Filler):
    """Answers with the choice of the highest worth. What its ledger knows is answered from there."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def fill(self, questions: Sequence[Question]) -> list[Fill]:
        """Answer the questions, in order, one fill each."""
        return self._ledger.settle(questions, best)


def best(question: Question) -> Fill:
    """Take what has the highest worth, the first of equals; draw by weight where nothing has one."""
    worths = {(choice.key, i): worth for choice in question.choices for i, worth in enumerate(choice.worths)}
    if not worths:
        return replace(draw(question), fallback="the planner believes nothing yet")
    first = max(worths, key=lambda item: worths[item])
    others = [worth for other, worth in worths.items() if other != first]
    beside = f"; the next {max(others):.3g}" if others else ""
    return Fill(
        question=question.id,
        key=first[0],
        value=first[1],
        rationale=f"the planner expects most of it: {worths[first]:.3g} of {len(worths)}{beside}",
        filler=POSTERIOR,
    )
