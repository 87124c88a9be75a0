"""One question to an OpenAI-compatible endpoint, under a deadline and bounded in size. It reports, it never raises."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

import httpx2
import openai

from llmastool.errors import ConfigError
from llmastool.filler.config import FillerConfig
from llmastool.filler.reply import BadReplyError, Usage

MAX_BODY = 1 << 20
"""Longest body that is read, in bytes; a longer one is a failure."""

FORMS = ("bounded schema", "schema", "object", "plain")
"""Forms of the request, from the strictest down; the next is tried where an endpoint refuses one."""

_REFUSED = frozenset({400, 404, 422})
_NO_KEY = "none"
"""Stands for the key where there is none; local servers want a value."""

_statuses: ContextVar[list[int]] = ContextVar("statuses")
"""The statuses of the HTTP replies to the question at hand."""


class TooLongError(openai.OpenAIError):
    """A body is longer than `MAX_BODY`. Deriving from the client's own error keeps it from retrying."""


class Answered(Protocol):
    """A valid answer, of whatever kind."""

    @property
    def usage(self) -> Usage:
        """What it took."""


A = TypeVar("A", bound=Answered)
Item = TypeVar("Item")
ReadA = TypeVar("ReadA", bound=Answered, covariant=True)


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
class Asked(Generic[A]):
    """What came of asking."""

    answer: A | None = None
    """None where there is none."""
    reason: str = ""
    """Why there is none, in one short line that quotes nothing of the reply; empty where there is an answer."""
    reached: bool = True
    """Whether the endpoint gave a reply of status 200, good or bad."""
    usage: Usage = field(default_factory=Usage)
    body: bytes = b""
    """The body of the reply, the key taken out."""


class Endpoint:
    """The endpoint of a configuration. The key comes from the environment and is never part of what is returned."""

    def __init__(self, config: FillerConfig) -> None:
        """Read the environment.

        Raises:
            ConfigError: the base URL is none, or the key has characters that no header can carry.
        """
        self._config = config
        self._key = os.environ.get("OPENAI_API_KEY", "")
        self._base_url = config.base_url or os.environ.get("OPENAI_BASE_URL") or None
        self._form = 0
        if not (self._key.isascii() and self._key.isprintable()):
            raise ConfigError("OPENAI_API_KEY: expected printable ASCII characters, got others; set the key again")
        if self._base_url is not None and not _is_web(self._base_url):
            raise ConfigError(
                f"OPENAI_BASE_URL or filler.base_url: expected a URL such as http://127.0.0.1:8080/v1, "
                f"got {self._base_url!r}"
            )

    def client(self) -> openai.AsyncOpenAI:
        """Return a client for the running loop, to be used as a context."""
        return openai.AsyncOpenAI(
            api_key=self._key or _NO_KEY,
            base_url=self._base_url,
            timeout=self._config.timeout_seconds,
            max_retries=self._config.retries,
            http_client=openai.DefaultAsyncHttpxClient(event_hooks={"response": [_watch]}),
        )

    async def each(self, items: Sequence[Item], one: Callable[[openai.AsyncOpenAI, Item], Awaitable[None]]) -> None:
        """Do something with a client for each item, `concurrency` of them at the same time."""
        limit = asyncio.Semaphore(self._config.concurrency)

        async def bounded(client: openai.AsyncOpenAI, item: Item) -> None:
            async with limit:
                await one(client, item)

        async with self.client() as client:
            await asyncio.gather(*(bounded(client, item) for item in items))

    async def ask(self, client: openai.AsyncOpenAI, prompt: Prompted[A]) -> Asked[A]:
        """Ask, with retries, and return what came of it within the deadline."""
        statuses: list[int] = []
        _statuses.set(statuses)
        seconds = self._config.timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                body = self._redact(await self._post(client, prompt))
        except (TimeoutError, openai.APITimeoutError):
            last = f"; the last reply had HTTP status {statuses[-1]}" if statuses and statuses[-1] != 200 else ""
            return Asked(reached=False, reason=f"no answer within {seconds:g} s{last}")
        except openai.APIStatusError as error:
            hint = ": the key was not accepted" if error.status_code in (401, 403) else ""
            body = self._redact(error.response.content)
            return Asked(reached=False, reason=f"HTTP status {error.status_code}{hint}", body=body)
        except openai.APIConnectionError:
            return Asked(reached=False, reason="no connection to the endpoint, or it was lost")
        except TooLongError:
            return Asked(reached=False, reason=f"the reply is longer than {MAX_BODY} bytes")
        try:
            answer = prompt.read(body)
        except BadReplyError as error:
            return Asked(reason=str(error), usage=error.usage, body=body)
        return Asked(answer=answer, usage=answer.usage, body=body)

    async def _post(self, client: openai.AsyncOpenAI, prompt: Prompted[Any]) -> bytes:
        """Send the question in the strictest form that the endpoint takes, and return the body of the reply."""
        for form in range(self._form, len(FORMS)):
            try:
                reply = await client.chat.completions.with_raw_response.create(
                    model=self._config.model,
                    messages=list(prompt.messages),  # type: ignore[arg-type]
                    **_options(prompt, FORMS[form], self._config.max_completion_tokens),
                )
            except openai.APIStatusError as error:
                if error.status_code not in _REFUSED or form + 1 == len(FORMS):
                    raise
            else:
                self._form = max(self._form, form)
                return reply.content
        raise AssertionError("the last form returns or raises")

    def _redact(self, body: bytes) -> bytes:
        """Take the key out of what the endpoint sent, should it have sent it back."""
        return body.replace(self._key.encode(), b"[key]") if self._key else body


def _options(prompt: Prompted[Any], form: str, limit: int) -> dict[str, Any]:
    if form == "plain":
        return {"max_tokens": limit}  # the older name, for endpoints that know no other
    if form == "object":
        return {"max_completion_tokens": limit, "response_format": {"type": "json_object"}}
    described = {"name": "pick", "strict": True, "schema": prompt.schema(bounded=form == "bounded schema")}
    return {"max_completion_tokens": limit, "response_format": {"type": "json_schema", "json_schema": described}}


def _is_web(url: str) -> bool:
    try:
        parsed = httpx2.URL(url)
        bracketed = urlsplit(url).hostname  # the client's own parser lets a bracket without its partner pass
    except (httpx2.InvalidURL, ValueError):
        return False
    return parsed.scheme in ("http", "https") and bool(bracketed)


async def _watch(response: httpx2.Response) -> None:
    """Note the status of a reply, and bound its body."""
    _statuses.get().append(response.status_code)
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
                raise TooLongError(f"more than {MAX_BODY} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
