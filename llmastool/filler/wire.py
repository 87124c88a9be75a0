"""What happens to every HTTP request, retries included: it is counted, kept to its pace, and its reply is bounded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass, field

import httpx2
import openai

from llmastool.filler.purse import Purse
from llmastool.filler.reply import Usage

MAX_BODY = 1 << 20
"""Longest body that is read, in bytes; a longer one is a failure."""


class TooLongError(openai.OpenAIError):
    """A body is longer than `MAX_BODY`. Deriving from the client's own error keeps it from retrying."""


@dataclass
class Trace:
    """What went over the wire for one question."""

    requests: int = 0
    """How many requests were sent."""
    statuses: list[int] = field(default_factory=list)
    """The statuses of the replies that came."""
    usage: Usage = field(default_factory=Usage)
    """Tokens, of all forms in which it was asked."""
    cost: float = 0.0

    def add(self, usage: Usage, cost: float) -> None:
        """Add what one form of the question took."""
        self.usage = Usage(
            prompt_tokens=self.usage.prompt_tokens + usage.prompt_tokens,
            completion_tokens=self.usage.completion_tokens + usage.completion_tokens,
        )
        self.cost += cost


tracing: ContextVar[Trace] = ContextVar("tracing")
"""The trace of the question at hand."""


class Wire:
    """The HTTP side of an endpoint."""

    def __init__(self, purse: Purse, per_minute: float | None) -> None:
        """Say what limits requests.

        Args:
            purse: is asked before each of them.
            per_minute: how many there may be in a minute; None for as many as come.
        """
        self._purse = purse
        self._gap = 60.0 / per_minute if per_minute is not None else 0.0
        self._next = 0.0

    def client(self) -> httpx2.AsyncClient:
        """Return an HTTP client, every request of which is looked after. One of `turn` comes before each question."""
        return openai.DefaultAsyncHttpxClient(event_hooks={"request": [self._before], "response": [_after]})

    async def turn(self) -> None:
        """Wait until the next request may be sent."""
        now = time.monotonic()
        start = max(now, self._next)
        self._next = start + self._gap
        if start > now:
            await asyncio.sleep(start - now)

    async def _before(self, request: httpx2.Request) -> None:
        del request
        trace = tracing.get()
        self._purse.request()
        trace.requests += 1
        if trace.requests > 1:
            await self.turn()


async def _after(response: httpx2.Response) -> None:
    """Note the status of a reply, and bound its body."""
    tracing.get().statuses.append(response.status_code)
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _Bounded(response.stream)


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends with `TooLongError` after `MAX_BODY` bytes."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_BODY:
                raise TooLongError(f"the reply is longer than {MAX_BODY} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
