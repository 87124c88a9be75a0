"""What became of a candidate: `ok` with its metrics, or the gate at which it fell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

from llmastool.canonical import Json

Gate = Literal["ok", "edit", "build", "shape", "budget", "numerics", "timeout", "memory", "crash", "stopped"]
"""`ok`, or where a candidate fell, from the cheapest gate to the dearest; `stopped` is a training that was left on the
way, because others did better after as many epochs."""

GATES: tuple[Gate, ...] = get_args(Gate)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of evaluating one candidate. Failures are results: they are stored and learned from."""

    candidate: str
    """Id of the tree."""
    gate: Gate
    """`ok`, or the gate at which the candidate fell."""
    message: str = ""
    """Why it fell, for a reader; empty when ok."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Final numbers, e.g. `validation_accuracy` in percent, `parameters`, `flops` (multiply-adds for one image)."""
    curve: tuple[Mapping[str, float], ...] = ()
    """One entry per epoch: `epoch`, `train_loss` (nats), `validation_accuracy` (percent), `lr`."""
    seconds: float = 0.0
    """Wall time of the evaluation. Used in a decision only where `planner.per_second` asks for it: times differ, and a
    rerun would not decide alike."""

    @property
    def ok(self) -> bool:
        """Whether the candidate was trained to the end."""
        return self.gate == "ok"

    def to_json(self) -> Json:
        """Return a JSON value that `from_json` reads back."""
        return {**asdict(self), "metrics": dict(self.metrics), "curve": [dict(e) for e in self.curve]}

    @staticmethod
    def from_json(value: Json) -> Outcome:
        """Read what `to_json` wrote."""
        return Outcome(**{**value, "curve": tuple(value["curve"])})
