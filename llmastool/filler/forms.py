"""The forms in which an answer can be asked for, from the strictest down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, get_args

Form = Literal["bounded schema", "schema", "object", "tool", "plain"]
"""A JSON schema with limits on lengths, which some endpoints refuse; one without; JSON mode; a call of a tool; and no
form at all, where the prompt alone says what is wanted."""

FORMS: tuple[Form, ...] = get_args(Form)

_TOOL = "answer"


class Schemed(Protocol):
    """A question with the schema of its answers."""

    def schema(self, *, bounded: bool) -> dict[str, Any]:
        """Return the JSON schema of an answer; `bounded` limits lengths."""


def options(prompt: Schemed, form: Form, limit: int) -> Mapping[str, Any]:
    """Return what a request of a form holds besides model and messages.

    Args:
        prompt: the question.
        form: how its answer is asked for.
        limit: most tokens of the reply.
    """
    match form:
        case "bounded schema" | "schema":
            schema = prompt.schema(bounded=form == "bounded schema")
            described = {"name": _TOOL, "strict": True, "schema": schema}
            asked: dict[str, Any] = {"response_format": {"type": "json_schema", "json_schema": described}}
        case "object":
            asked = {"response_format": {"type": "json_object"}}
        case "tool":
            function = {"name": _TOOL, "description": "Give the answer.", "parameters": prompt.schema(bounded=False)}
            asked = {
                "tools": [{"type": "function", "function": function}],
                "tool_choice": {"type": "function", "function": {"name": _TOOL}},
            }
        case "plain":
            return {"max_tokens": limit}  # the older name, for endpoints that know no other
    return {"max_completion_tokens": limit, **asked}
