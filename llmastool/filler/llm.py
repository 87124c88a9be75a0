"""The filler that asks an LLM. Whatever goes wrong with one question, `rules` answers it, and the fill says why."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from llmastool.filler.address import Host
from llmastool.filler.config import FillerConfig
from llmastool.filler.endpoint import Asking, Endpoint
from llmastool.filler.ledger import MAX_REPLY, Exchange, Ledger, Turn
from llmastool.filler.loops import run
from llmastool.filler.prompt import make_prompt
from llmastool.filler.purse import Purse
from llmastool.filler.question import Fill, Filler, Question
from llmastool.filler.rules import draw
from llmastool.seeds import generator

BREAK_AFTER = 3
"""After so many failures in a row for which the endpoint is to blame, the rest of the search is not put to it."""


class LLMFiller(Filler):
    """Asks an LLM. Questions of one call are asked at the same time; answers come in their order.

    What the ledger knows is not asked, nor what leaves no choice. A new object, as in a resumed search, tries the
    endpoint afresh.
    """

    def __init__(self, config: FillerConfig, ledger: Ledger, host: Host, name: str) -> None:
        """Make a filler.

        Args:
            config: who is asked, how, and its limits.
            ledger: of the search.
            host: has the endpoint running.
            name: under which the filler signs, before the model's name.
        """
        self._config, self._ledger, self._name = config, ledger, name
        purse = Purse(config, requests=ledger.requests, cost=ledger.cost)
        self._endpoint = Endpoint(config, purse, host)
        self._failures = 0
        """Times in a row that asking failed by the endpoint's fault."""

    def fill(self, questions: Sequence[Question]) -> list[Fill]:
        """Answer the questions, in order, one fill each.

        Raises:
            OSError: the ledger cannot be written.
            LedgerError: the ledger does not fit a question.
        """
        new = {q.id: q for q in questions if self._ledger.find(q) is None}.values()
        for question in new:
            if len(question.choices) == 1:
                self._ledger.record(Exchange(question=question, fill=draw(question)))
        open_ = [question for question in new if len(question.choices) > 1]
        if open_:
            run(lambda: self._endpoint.each(open_, self._settle))
        return [self._ledger.answer(question) for question in questions]

    def close(self) -> None:
        """End the endpoint, where it is ours."""
        self._endpoint.close()

    async def _settle(self, asking: Asking, question: Question) -> None:
        model = drawn_model(self._config.weighted, question)
        orders = min(self._config.orders, len(question.choices))
        asked = [self._turn(asking, question, model, place / orders) for place in range(orders)]
        turns, rationales = zip(*await asyncio.gather(*asked), strict=True)
        self._ledger.record(Exchange(question=question, fill=self._pooled(question, turns, rationales), turns=turns))

    async def _turn(self, asking: Asking, question: Question, model: str, turn: float) -> tuple[Turn, str]:
        """Ask in one order; return what came of it, and the rationale."""
        prompt = make_prompt(question, turn=turn, shuffle=self._config.shuffle)
        asked = await asking.ask(prompt, model, unless=self._broken)
        sent = asked.spending.requests > 0
        if asked.broken:
            self._failures += 1
        elif sent:
            self._failures = 0
        answer = asked.answer
        found = Turn(
            model=model,
            order=tuple(choice.key for choice in prompt.shown.values()),
            key=prompt.shown[answer.label].key if answer is not None else None,
            value=answer.value if answer is not None else 0,
            reason=asked.reason,
            messages=prompt.messages if sent else (),
            reply=asked.body.decode("utf-8", "replace")[:MAX_REPLY],
            **asdict(asked.spending),
        )
        return found, answer.rationale if answer is not None else ""

    def _broken(self) -> str:
        if self._failures < BREAK_AFTER:
            return ""
        return f"not asked: the endpoint failed {BREAK_AFTER} times in a row"

    def _pooled(self, question: Question, turns: Sequence[Turn], rationales: Sequence[str]) -> Fill:
        """Return what most turns picked, of equals the first; what `rules` draws where none picked anything."""
        votes = Counter(turn.key for turn in turns if turn.key is not None)
        if votes:
            key = votes.most_common(1)[0][0]
            first, said = next((t, r) for t, r in zip(turns, rationales, strict=True) if t.key == key)
            values = Counter(turn.value for turn in turns if turn.key == key)
            fill = Fill(
                question=question.id,
                key=key,
                value=values.most_common(1)[0][0],
                rationale=said,
                filler=f"{self._name}:{first.model}",
            )
        else:
            fill = replace(draw(question), fallback=turns[0].reason)
        return replace(
            fill,
            prompt_tokens=sum(turn.prompt_tokens for turn in turns),
            completion_tokens=sum(turn.completion_tokens for turn in turns),
            cost=sum(turn.cost for turn in turns),
            seconds=max(turn.seconds for turn in turns),
        )


def drawn_model(weighted: Mapping[str, float], question: Question) -> str:
    """Draw a model by weight, the same one for the same question."""
    names, weights = list(weighted), np.array(list(weighted.values()))
    return names[int(generator(question.seed, "model").choice(len(names), p=weights / weights.sum()))]
