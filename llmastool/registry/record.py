"""What is kept of a module that was probed. PyTorch is not imported, so that a registry can be read at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

from llmastool.canonical import Json
from llmastool.registry.contract import Contract

Stage = Literal["load", "build", "forward", "backward", "contract", "ok"]
"""The stage at which a module fell, or `ok`."""

STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What probing one module gave."""

    module: str
    """Id of the module."""
    stage: Stage
    message: str = ""
    """Why it fell, for a reader; empty when ok."""
    origin: str = ""
    """Where the arguments that worked came from."""
    family: str = "unknown"
    behaviour: Mapping[str, Json] = field(default_factory=dict)
    args: Mapping[str, Json] | None = None
    """Constructor arguments of one that was built and fell later; None for one that was never built, or is ok."""
    fingerprint: Mapping[str, Json] = field(default_factory=dict)
    """Of the function that it computes, see `llmastool.registry.fingerprint`; empty where that was not taken."""
    contracts: tuple[Contract, ...] = ()
    """One for each input layout that works, the most telling first."""
    seconds: float = 0.0

    def to_json(self) -> Json:
        """Return a JSON value that `from_json` reads back."""
        return asdict(self)

    @staticmethod
    def from_json(value: Json) -> Probe:
        """Read what `to_json` wrote."""
        return Probe(**{**value, "contracts": tuple(Contract.from_json(c) for c in value["contracts"])})


Kind = Literal["exact", "structural", "behavioural"]
"""What is the same: the text, the text but for names, or the outputs for the same input and weights."""


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """That a module is the same as another, which stands for it."""

    of: str
    """Id of the module that stands for all of its kind."""
    kind: Kind
