"""What a round of planning rested on, and how the posterior's earlier predictions fared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from llmastool.canonical import Json
from llmastool.planner.archive import accuracies
from llmastool.planner.plan import Record

IMPROVEMENT = "expected improvement"
"""Reason of a plan that the posterior chose."""

QUOTA = "diversity quota"
"""Reason of a plan that gives a family a fair trial."""

NO_POSTERIOR = "no posterior yet"
"""Reason of a plan made before there were enough observations; its numbers predict nothing."""

SCORED = (IMPROVEMENT, QUOTA)
"""Reasons of the plans whose numbers come from the posterior."""

CENTRAL = 1.645
"""Standard deviations of a normal distribution on each side of its central 90 %."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What something is worth, in percentage points of validation accuracy, with a central 90 % interval."""

    name: str
    number: int
    """Networks that hold it, or edits that were made."""
    mean: float
    low: float
    high: float

    @staticmethod
    def of(name: str, number: int, mean: float, sd: float) -> Effect:
        """Return an effect that is normal."""
        return Effect(name=name, number=number, mean=mean, low=mean - CENTRAL * sd, high=mean + CENTRAL * sd)

    def to_json(self) -> Json:
        """Return a JSON value; `Effect(**value)` reads it back."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a round of planning rested on."""

    round: int
    options: int
    """Distinct options that there were to choose from."""
    observations: int
    """Evaluated trees with a usable accuracy, or one that is carried over to the end."""
    rules: Mapping[str, int]
    """Plans by the rule that chose them."""
    families: Mapping[str, int]
    """Trials by family so far, this round's plans included."""
    posterior: Mapping[str, Json] | None
    """`Diagnostics.to_json()`; None where no posterior was used. Its `seconds` differ from run to run."""
    calibration: Mapping[str, float] | None
    """How the posterior's earlier plans fared (`calibration`); None when none can be judged."""

    def to_json(self) -> Json:
        """Return a JSON value."""
        return asdict(self)


def calibration(records: Sequence[Record]) -> dict[str, float] | None:
    """Judge the gains that the posterior predicted against those that came, over all records.

    Returns:
        `plans` judged (child and parent trained), `inside` (share within the central 90 % of a normal prediction) and
        `error` (mean absolute error in percentage points); None when there is none to judge.
    """
    accuracy = accuracies(records)
    judged = []
    for record in records:
        plan = record.plan
        if plan is None or plan["reason"] not in SCORED or not accuracy.keys() >= {record.tree, plan["parent"]}:
            continue
        error = accuracy[record.tree] - accuracy[plan["parent"]] - plan["expected_gain"]
        judged.append((abs(error), abs(error) <= CENTRAL * plan["spread"]))
    if not judged:
        return None
    errors, inside = np.array([e for e, _ in judged]), np.array([i for _, i in judged])
    return {"plans": float(len(judged)), "inside": float(inside.mean()), "error": float(errors.mean())}
