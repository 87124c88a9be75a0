"""What the baselines have in common: which records count, which options are distinct, and the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from llmastool.planner.archive import is_usable, usable
from llmastool.planner.plan import FRESH, Option, Plan, Record
from llmastool.planner.report import Report

ALL = 2**31 - 1
"""As many as there are. Where that is too many to look at, the search caps it (`search.pool`)."""


def accuracy(record: Record) -> float | None:
    """Return a record's accuracy in percent; None where it was not trained to the end, or the number is no use."""
    usable = record.profile is not None and is_usable(record.accuracy)
    return record.accuracy if usable else None


def trained(records: Sequence[Record]) -> list[Record]:
    """Return the records with a usable accuracy, in order."""
    return usable(records)


def distinct(options: Iterable[Option]) -> list[Option]:
    """Return one option for every key, in the order of the keys, whatever the order they came in."""
    ranked = sorted(options, key=lambda option: (option.key, option.tree))
    return list({option.key: option for option in reversed(ranked)}.values())[::-1]


def shuffled(options: Sequence[Option], rng: np.random.Generator) -> list[Option]:
    """Return options in random order."""
    return [options[i] for i in rng.permutation(len(options))]


def fresh(options: Sequence[Option]) -> list[Option]:
    """Return the networks drawn anew among options."""
    return [option for option in options if option.kind == FRESH]


def first(options: Iterable[Option], n: int) -> list[Option]:
    """Return the first `n` options, none that would show a network twice."""
    return list({option.tree: option for option in reversed(list(options))}.values())[::-1][:n]


def report(
    round: int, records: Sequence[Record], options: Sequence[Option], plans: Sequence[Plan]
) -> tuple[list[Plan], Report]:
    """Return a round's plans with the report on them; `options` are distinct.

    A trial of a family is a plan for it: what else a network holds is nothing that a baseline looks at.
    """
    families = Counter(str(record.plan["family"]) for record in records if record.plan is not None)
    families.update(plan.family for plan in plans)
    return list(plans), Report(
        round=round,
        options=len(options),
        observations=len(trained(records)),
        rules=dict(Counter(plan.reason for plan in plans)),
        families=dict(sorted(families.items())),
        posterior=None,
        calibration=None,
    )
