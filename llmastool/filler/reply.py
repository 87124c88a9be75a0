"""Reading what an endpoint sent: strictly, and with a short reason where it is no answer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmastool.filler.question import MAX_RATIONALE
from llmastool.filler.text import clean_line

_Tokens = Annotated[int, Field(ge=0, le=10**9)]


class BadReplyError(Exception):
    """The reply is no answer. The message is the reason in one short line, with nothing quoted from the reply."""

    def __init__(self, reason: str, usage: Usage | None = None) -> None:
        super().__init__(reason)
        self.usage = usage or Usage()


class Usage(BaseModel):
    """Tokens, as the endpoint counts them; 0 where it does not say."""

    prompt_tokens: _Tokens = 0
    completion_tokens: _Tokens = 0


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)


class _Counted(BaseModel):
    usage: Usage


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    choice: str
    rationale: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A valid answer."""

    label: str
    """The letter that was picked."""
    rationale: str
    """Why, without control characters, at most `MAX_RATIONALE` long."""
    usage: Usage


def read_reply(body: bytes, labels: Collection[str]) -> Answer:
    """Read the body of a chat completion that picks one of the labels.

    Raises:
        BadReplyError: it is no completion, or its text is not one JSON object with one of the labels and a rationale.
    """
    text, usage = read_object(body)
    try:
        answer = _Answer.model_validate_json(text)
    except ValidationError:
        raise BadReplyError("the answer is not an object with a choice and a rationale", usage) from None
    if answer.choice not in labels:
        raise BadReplyError("the answer is none of the choices", usage)
    return Answer(label=answer.choice, rationale=clean_line(answer.rationale, MAX_RATIONALE), usage=usage)


def read_object(body: bytes) -> tuple[bytes, Usage]:
    """Return what should be the JSON object in the body of a chat completion, and what it took.

    Raises:
        BadReplyError: it is no completion, or its text holds no such thing.
    """
    usage = _read_usage(body)
    try:
        first = _Completion.model_validate_json(body).choices[0]
    except ValidationError as error:
        kind = error.errors(include_url=False, include_input=False)[0]["type"]
        what = "is not JSON" if kind == "json_invalid" else "holds no message"
        raise BadReplyError(f"the reply {what}", usage) from None
    content = first.message.content or ""
    start, end = content.find("{"), content.rfind("}")
    if start < 0 or end < start:
        if first.message.refusal:
            raise BadReplyError("the model refused to answer", usage)
        if first.finish_reason == "length":
            raise BadReplyError("the answer was cut at the token limit", usage)
        raise BadReplyError("the answer is not a JSON object", usage)
    return content[start : end + 1].encode("utf-8", "replace"), usage


def _read_usage(body: bytes) -> Usage:
    try:
        return _Counted.model_validate_json(body).usage
    except ValidationError:
        return Usage()
