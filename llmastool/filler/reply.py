"""Reading what an endpoint sent: strictly, and with a short reason where it is no answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from llmastool.canonical import dumps
from llmastool.filler.question import MAX_RATIONALE
from llmastool.filler.text import clean_line

_Tokens = Annotated[int, Field(ge=0, le=10**9)]


class BadReplyError(Exception):
    """The reply is no answer. The message is the reason in one short line, with nothing quoted from the reply."""


class Usage(BaseModel):
    """Tokens, as an endpoint counts them."""

    prompt_tokens: _Tokens = 0
    completion_tokens: _Tokens = 0


class _Function(BaseModel):
    arguments: str


class _Call(BaseModel):
    function: _Function


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)


class _Reported(BaseModel):
    prompt_tokens: _Tokens
    completion_tokens: _Tokens


class _Counted(BaseModel):
    usage: _Reported


class _Pick(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    choice: str
    value: str | int | Annotated[float, Field(allow_inf_nan=False)] | bool | None = None


class _Flat(_Pick):
    rationale: str


class _Nested(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    rationale: str
    pick: _Pick


_ANSWER: TypeAdapter[_Flat | _Nested] = TypeAdapter(_Flat | _Nested)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A valid answer."""

    label: str
    """The letter that was picked."""
    value: int
    """Which of the values that it leaves free, by index."""
    rationale: str
    """Why, without control characters, at most `MAX_RATIONALE` long."""


def read_reply(body: bytes, labels: Mapping[str, Sequence[str]]) -> Answer:
    """Read the body of a chat completion that picks one of the labels.

    Args:
        body: what came.
        labels: the labels, each with the values that it leaves free as text, none where it leaves nothing free.

    Raises:
        BadReplyError: it is no completion, or its text is not one JSON object with one of the labels, one of its
            values where it has some, and a rationale.
    """
    try:
        answer = _ANSWER.validate_json(read_object(body))
    except ValidationError:
        raise BadReplyError("the answer is not an object with a choice and a rationale") from None
    pick = answer.pick if isinstance(answer, _Nested) else answer
    if pick.choice not in labels:
        raise BadReplyError("the answer is none of the choices")
    values = labels[pick.choice]
    value = pick.value if isinstance(pick.value, str) else dumps(pick.value)
    if values and value not in values:
        raise BadReplyError("the answer has none of the choice's values")
    return Answer(
        label=pick.choice,
        value=values.index(value) if values else 0,
        rationale=clean_line(answer.rationale, MAX_RATIONALE),
    )


def read_object(body: bytes) -> bytes:
    """Return what should be the JSON object in the body of a chat completion, be it said or handed to a tool.

    Raises:
        BadReplyError: it is no completion, or holds no such thing.
    """
    try:
        first = _Completion.model_validate_json(body).choices[0]
    except ValidationError as error:
        kind = error.errors(include_url=False, include_input=False)[0]["type"]
        what = "is not JSON" if kind == "json_invalid" else "holds no message"
        raise BadReplyError(f"the reply {what}") from None
    message = first.message
    content = message.tool_calls[0].function.arguments if message.tool_calls else message.content or ""
    start, end = content.find("{"), content.rfind("}")
    if start < 0 or end < start:
        if message.refusal:
            raise BadReplyError("the model refused to answer")
        if first.finish_reason == "length":
            raise BadReplyError("the answer was cut at the token limit")
        raise BadReplyError("the answer is not a JSON object")
    return content[start : end + 1].encode("utf-8", "replace")


def read_usage(body: bytes) -> Usage | None:
    """Return the tokens that the body of a chat completion tells of; None where it does not."""
    try:
        told = _Counted.model_validate_json(body).usage
    except ValidationError:
        return None
    return Usage(prompt_tokens=told.prompt_tokens, completion_tokens=told.completion_tokens)
