"""What was tried in a slot before, and how it went: for who is to settle what a plan leaves open."""

from __future__ import annotations

from collections.abc import Sequence

from llmastool.planner.archive import accuracies
from llmastool.planner.plan import FRESH, Plan, Record
from llmastool.planner.rungs import carried

MOST = 5
"""Trials that are told of."""


def tried(plan: Plan, records: Sequence[Record]) -> list[str]:
    """Return what was tried in the slot of a plan, in its parent or in another network, the latest first; a line each.

    Accuracies are of validation, in percent; of what was stopped on the way, those that are expected. There is nothing
    to tell of networks drawn anew.
    """
    if plan.kind == FRESH:
        return []
    known, found = accuracies(carried(records)), list[str]()
    for record in reversed(records):
        before = record.plan
        if before is None or before["slot"] != plan.slot or before["kind"] == FRESH:
            continue
        came, stood = known.get(record.tree), known.get(str(before["parent"]))
        where = "here" if before["parent"] == plan.parent else "in another network"
        if came is None:
            went = "it failed"
        elif stood is None:
            went = f"{came:.2f} %"
        else:
            went = f"{came:.2f} %, {came - stood:+.2f} points"
        if came is not None and record.accuracy is None:
            went = f"stopped early, expected at {went}"
        found.append(f"tried in this slot {where}: {before['kind']}, {before['family']}: {went}")
        if len(found) == MOST:
            break
    return found
