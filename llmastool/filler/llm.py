"""The filler that asks an LLM. Whatever goes wrong with one question, `rules` answers it, and the fill says why."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import openai

from llmastool.filler.config import FillerConfig
from llmastool.filler.endpoint import Asked, Endpoint
from llmastool.filler.ledger import MAX_REPLY, Exchange, Ledger
from llmastool.filler.loops import run
from llmastool.filler.prompt import Prompt, make_prompt
from llmastool.filler.question import Fill, Question
from llmastool.filler.reply import Answer
from llmastool.filler.rules import draw

BREAK_AFTER = 3
"""After so many questions in a row to which the endpoint gave no reply, the rest of the search is not put to it."""


class OpenAIFiller:
    """Asks an LLM. Questions of one call are asked at the same time; answers come in their order.

    What the ledger knows is not asked, nor what leaves no choice. A new object, as in a resumed search, tries the
    endpoint afresh.
    """

    def __init__(self, config: FillerConfig, ledger: Ledger) -> None:
        """Take the endpoint from the configuration and the environment.

        Raises:
            ConfigError: the base URL or the key cannot be used.
        """
        self._config = config
        self._ledger = ledger
        self._endpoint = Endpoint(config)
        self._failures = 0
        """Questions in a row to which the endpoint gave no reply."""

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
        missing = [question for question in new if len(question.choices) > 1]
        free = max(0, self._config.max_calls - self._ledger.calls)
        for question in missing[free:]:
            self._fall_back(question, f"the limit of {self._config.max_calls} calls is reached")
        if missing[:free]:
            run(lambda: self._endpoint.each(missing[:free], self._settle))
        return [self._ledger.answer(question) for question in questions]

    async def _settle(self, client: openai.AsyncOpenAI, question: Question) -> None:
        if self._failures >= BREAK_AFTER:
            self._fall_back(question, f"not asked: the endpoint gave no reply to {BREAK_AFTER} questions in a row")
            return
        prompt, start = make_prompt(question), time.monotonic()
        asked = await self._endpoint.ask(client, prompt)
        seconds = round(time.monotonic() - start, 3)
        self._failures = 0 if asked.reached else self._failures + 1
        fill = replace(self._read(question, prompt, asked), **asked.usage.model_dump(), seconds=seconds)
        reply = asked.body.decode("utf-8", "replace")[:MAX_REPLY]
        self._ledger.record(Exchange(question=question, fill=fill, messages=prompt.messages, reply=reply))

    def _read(self, question: Question, prompt: Prompt, asked: Asked[Answer]) -> Fill:
        if asked.answer is None:
            return replace(draw(question), fallback=asked.reason)
        return Fill(
            question=question.id,
            key=prompt.labels[asked.answer.label],
            rationale=asked.answer.rationale,
            filler=f"openai:{self._config.model}",
        )

    def _fall_back(self, question: Question, reason: str) -> None:
        self._ledger.record(Exchange(question=question, fill=replace(draw(question), fallback=reason)))
