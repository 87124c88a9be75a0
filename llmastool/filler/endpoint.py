"""One question to an OpenAI-compatible endpoint, under a deadline and bounded in size. It reports, it never raises."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import httpx2
import openai

from llmastool.filler.address import Host
from llmastool.filler.config import FillerConfig
from llmastool.filler.forms import FORMS, Form, options
from llmastool.filler.purse import Purse, SpentError
from llmastool.filler.reply import BadReplyError, Usage, read_usage
from llmastool.filler.wire import TooLongError, Trace, Wire, tracing

_REFUSED = frozenset({400, 404, 422})
_NO_KEY = "none"
"""Stands for the key where there is none; local servers want a value."""

A = TypeVar("A")
Item = TypeVar("Item")
ReadA = TypeVar("ReadA", covariant=True)


class Prompted(Protocol[ReadA]):
    """A question as it is sent, and how to read the reply."""

    @property
    def messages(self) -> Sequence[Mapping[str, str]]:
        """The messages."""

    def schema(self, *, bounded: bool) -> dict[str, Any]:
        """Return the JSON schema of an answer; `bounded` limits lengths, which some endpoints refuse."""

    def read(self, body: bytes) -> ReadA:
        """Read a reply; raises `BadReplyError` where it is no answer."""


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What asking took."""

    requests: int = 0
    """HTTP requests, retries included."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    """In the currency of the prices. Where a reply may have been paid for and its tokens are not known, the most that
    it can have cost."""
    seconds: float = 0.0
    """From the first request to the last reply."""


@dataclass(frozen=True, kw_only=True)
class Asked(Generic[A]):
    """What came of asking."""

    answer: A | None = None
    """None where there is none."""
    reason: str = ""
    """Why there is none, in one short line that quotes nothing of the reply; empty where there is an answer."""
    broken: bool = False
    """Whether the endpoint is to blame: it gave no reply of status 200, or has never given a valid answer."""
    spending: Spending = Spending()
    body: bytes = b""
    """The body of the reply, the key taken out."""


class Endpoint:
    """An endpoint. Its key is never part of what is returned."""

    def __init__(self, config: FillerConfig, purse: Purse, host: Host) -> None:
        """Make an endpoint.

        Args:
            config: how it is asked.
            purse: what may still be spent.
            host: has it running.
        """
        self._config, self._purse, self._host = config, purse, host
        self._wire = Wire(purse, config.per_minute)
        self._key = ""
        self._form = 0
        """The strictest form that the endpoint is known to take."""
        self._proven = False
        """Whether an answer came in it."""

    def close(self) -> None:
        """End what was started; the next question starts it again."""
        self._host.close()

    async def each(self, items: Sequence[Item], one: Callable[[Asking, Item], Awaitable[None]]) -> None:
        """Do something for each item, all at the same time; of what they ask, `concurrency` is under way at a time."""
        address = self._host.start()
        self._key = address.key
        client = openai.AsyncOpenAI(
            api_key=address.key or _NO_KEY,
            base_url=address.base_url,
            timeout=self._config.timeout_seconds,
            max_retries=self._config.retries,
            http_client=self._wire.client(),
        )
        async with client:
            asking = Asking(self, client, asyncio.Semaphore(self._config.concurrency))
            await asyncio.gather(*(one(asking, item) for item in items))

    async def ask(self, client: openai.AsyncOpenAI, prompt: Prompted[A], model: str) -> Asked[A]:
        """Ask, with retries, and return what came of it within the deadline."""
        await self._wire.turn()
        trace, start = Trace(), time.monotonic()
        tracing.set(trace)
        asked = await self._within(client, prompt, model, trace)
        spending = Spending(
            requests=trace.requests,
            prompt_tokens=trace.usage.prompt_tokens,
            completion_tokens=trace.usage.completion_tokens,
            cost=trace.cost,
            seconds=round(time.monotonic() - start, 3),
        )
        return replace(asked, spending=spending, body=self._redact(asked.body))

    async def _within(self, client: openai.AsyncOpenAI, prompt: Prompted[A], model: str, trace: Trace) -> Asked[A]:
        seconds = self._config.timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._strictest(client, prompt, model)
        except (TimeoutError, openai.APITimeoutError):
            statuses = trace.statuses
            last = f"; the last reply had HTTP status {statuses[-1]}" if statuses and statuses[-1] != 200 else ""
            return Asked(broken=True, reason=f"no answer within {seconds:g} s{last}")
        except openai.APIStatusError as error:
            hint = ": the key was not accepted" if error.status_code in (401, 403) else ""
            return Asked(broken=True, reason=f"HTTP status {error.status_code}{hint}", body=error.response.content)
        except openai.APIConnectionError:
            return Asked(broken=True, reason="no connection to the endpoint, or it was lost")
        except TooLongError as error:
            return Asked(broken=True, reason=str(error))
        except SpentError as error:
            return Asked(reason=str(error))

    async def _strictest(self, client: openai.AsyncOpenAI, prompt: Prompted[A], model: str) -> Asked[A]:
        """Ask in the strictest form that the endpoint takes.

        The next is tried where it refuses one, or where what it says is no answer though none was ever had in this
        form: some endpoints take a form and do not heed it.
        """
        for place in range(self._form, len(FORMS)):
            last = place + 1 == len(FORMS)
            try:
                body = await self._post(client, prompt, model, FORMS[place])
            except openai.APIStatusError as error:
                if error.status_code not in _REFUSED or last:
                    raise
                continue
            try:
                answer = prompt.read(body)
            except BadReplyError as error:
                if last or (self._proven and place == self._form):
                    return Asked(reason=str(error), broken=not self._proven, body=body)
            else:
                self._form, self._proven = max(self._form, place), True
                return Asked(answer=answer, body=body)
        raise AssertionError("the last form returns or raises")

    async def _post(self, client: openai.AsyncOpenAI, prompt: Prompted[Any], model: str, form: Form) -> bytes:
        """Send the question in one form, pay for it, and return the body of the reply."""
        messages, more = list(prompt.messages), options(prompt, form, self._config.max_completion_tokens)
        held = self._purse.hold(model, len(json.dumps([messages, more]).encode()))
        usage: Usage | None = None
        try:
            reply = await client.chat.completions.with_raw_response.create(
                model=model,
                messages=messages,  # type: ignore[arg-type]
                **more,
            )
            usage = read_usage(reply.content)
            return reply.content
        except openai.APIError as error:
            if isinstance(error, openai.APIStatusError) or isinstance(error.__cause__, httpx2.ConnectError):
                usage = Usage()  # nothing was done for it
            raise
        finally:
            tracing.get().add(usage or Usage(), self._purse.pay(held, model, usage))

    def _redact(self, body: bytes) -> bytes:
        """Take the key out of what the endpoint sent, should it have sent it back."""
        return body.replace(self._key.encode(), b"[key]") if self._key else body


@dataclass(frozen=True)
class Asking:
    """An endpoint with a client of the running loop."""

    _endpoint: Endpoint
    _client: openai.AsyncOpenAI
    _limit: asyncio.Semaphore

    async def ask(self, prompt: Prompted[A], model: str, *, unless: Callable[[], str] = lambda: "") -> Asked[A]:
        """Ask when it is this question's turn.

        Args:
            prompt: the question.
            model: who is asked.
            unless: said when its turn has come, a reason not to ask after all; empty where there is none.
        """
        async with self._limit:
            reason = unless()
            return Asked(reason=reason) if reason else await self._endpoint.ask(self._client, prompt, model)
