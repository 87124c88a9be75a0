"""The closed question: what a plan leaves open, as one pick from a short list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from llmastool.canonical import Json, digest

MAX_CHOICES = 12
"""Longest short list that is put to a filler."""

MAX_RATIONALE = 200
"""Longest rationale that is kept, in characters."""


@dataclass(frozen=True, kw_only=True)
class Free:
    """What a choice leaves open."""

    name: str
    """An argument, or `adapter`."""
    values: tuple[Json, ...]
    """What it can be, 2 or more, all of which hold; the first is what the choice's text shows."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One item of the short list. Every choice already holds, so no pick can break the network."""

    key: str
    """What the filler answers with, e.g. `a`; carries no name."""
    text: str
    """What it is, for the reader: module, arguments, parameters, what it does. Mined text in it is untrusted."""
    weight: float = 1.0
    """Prior weight for a filler that draws at random; positive."""
    module: str = ""
    """What comes in, for reports of what is preferred; never shown to an LLM."""
    family: str = ""
    """Its family, likewise."""
    free: Free | None = None
    """What it leaves open; None where that is nothing."""
    worths: tuple[float, ...] = ()
    """What the planner expects of it, for a filler that follows the planner, by value of what is free, or one for the
    choice as it is; empty where the planner believes nothing yet."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """An open decision of one plan."""

    context: str
    """The slot in its network, the plan and its reason, as text for the filler."""
    choices: tuple[Choice, ...]
    """The closed set, 1 to `MAX_CHOICES` items."""
    seed: int
    """Seed of every random draw that answering this question takes."""

    @property
    def id(self) -> str:
        """Hash of all that an LLM or a draw goes by, 16 hexadecimal digits; the key under which an answer is replayed.

        Worths are left out: their last digits may differ from machine to machine.
        """
        choices = [
            {"key": c.key, "text": c.text, "weight": c.weight, "free": asdict(c.free) if c.free is not None else None}
            for c in self.choices
        ]
        return digest({"context": self.context, "choices": choices, "seed": self.seed})[:16]

    @staticmethod
    def from_json(value: Json) -> Question:
        """Read what `dataclasses.asdict` made of a question."""
        choices = []
        for choice in value["choices"]:
            free = choice["free"]
            given = Free(name=free["name"], values=tuple(free["values"])) if free is not None else None
            choices.append(Choice(**{**choice, "free": given, "worths": tuple(choice["worths"])}))
        return Question(**{**value, "choices": tuple(choices)})


@dataclass(frozen=True, kw_only=True)
class Fill:
    """An answer: one item of the question's closed set, with why, and what asking cost."""

    question: str
    """Id of the question."""
    key: str
    """Key of the choice."""
    value: int = 0
    """Which value of what the choice leaves free, by its index."""
    rationale: str
    """Why, in at most `MAX_RATIONALE` characters."""
    filler: str
    """Who answered: `rules`, `posterior`, `openai:<model>`, or `local:<model>`."""
    fallback: str = ""
    """Why `rules` had to answer in another filler's place; empty when it had not."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    """In the currency of the prices."""
    seconds: float = 0.0

    def to_json(self) -> Json:
        """Return a JSON value; `Fill(**value)` reads it back."""
        return asdict(self)


class Filler(Protocol):
    """Settles open questions. It must answer every question with one of its choices, whatever happens."""

    def fill(self, questions: Sequence[Question]) -> list[Fill]:
        """Answer the questions, in order, one fill each."""
        ...

    def close(self) -> None:
        """End what was started to answer them. The next question starts it again."""
        return
