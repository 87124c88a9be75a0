from __future__ import annotations

from dataclasses import replace

from llmastool.planner.history import MOST, tried
from llmastool.planner.plan import FRESH, Plan, Record

PLAN = Plan(parent="p", slot="stem", kind="replace", family="attention", tree="t", reason="r")


def _record(tree: str, accuracy: float | None, **plan: str) -> Record:
    made = {**PLAN.to_json(), **plan} if plan else None
    return Record(tree=tree, profile=None, accuracy=accuracy, plan=made)


def test_it_tells_of_the_slot_the_latest_first_with_gains_over_the_parent() -> None:
    records = [
        _record("p", 90.0),
        _record("a", 91.5, family="convolution"),
        _record("b", None, family="pooling"),
        _record("c", 80.0, slot="head"),
        _record("d", 70.0, parent="lost", kind="insert"),
        _record("e", 60.0, slot="", parent="", kind=FRESH),
    ]
    assert tried(PLAN, records) == [
        "tried in this slot in another network: insert, attention: 70.00 %",
        "tried in this slot here: replace, pooling: it failed",
        "tried in this slot here: replace, convolution: 91.50 %, +1.50 points",
    ]


def test_it_tells_of_the_last_few_and_of_nothing_for_networks_drawn_anew() -> None:
    records = [_record(f"t{i}", float(i), family=f"f{i}") for i in range(20)]
    assert len(tried(PLAN, records)) == MOST and "f19" in tried(PLAN, records)[0]
    assert tried(replace(PLAN, kind=FRESH, slot=""), records) == []
