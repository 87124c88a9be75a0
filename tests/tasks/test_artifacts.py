"""The tables of Prefect's page, as plain rows."""

from __future__ import annotations

from llmastool.archive import Entry
from llmastool.candidate import Candidate
from llmastool.outcome import Outcome
from llmastool.trees.profile import Profile
from llmastool.trees.tree import Tree
from tasks.artifacts import LEADERS, fallen, leaders


def entry(number: int, accuracy: float | None = None, gate: str = "ok", message: str = "") -> Entry:
    tree = Tree("torch.nn.Linear", {"in_features": number + 1, "out_features": 10})
    candidate = Candidate(
        tree=tree, round=1, index=number, parent=None, change=f"change {number}", plan=None, fill=None
    )
    metrics = {} if accuracy is None else {"validation_accuracy": accuracy}
    profile = Profile(slots=(), in_shape=(2, 1), out_shape=(2, 10), parameters=number, flops=1, depth=1)
    outcome = Outcome(candidate=tree.id, gate=gate, message=message, metrics=metrics)  # type: ignore[arg-type]
    return Entry(candidate, profile if accuracy is not None else None, outcome)


def test_leaders_come_in_order_and_are_few() -> None:
    rows = leaders([entry(n, accuracy=50.0 + n % 7) for n in range(LEADERS + 5)] + [entry(99, gate="crash")])
    assert len(rows) == LEADERS
    assert [row["rank"] for row in rows] == list(range(1, LEADERS + 1))
    accuracies = [row["validation accuracy (%)"] for row in rows]
    assert accuracies == sorted(accuracies, reverse=True) and accuracies[0] == 56.0
    assert rows[0]["change"] == "change 6" and rows[0]["parameters"] == 6


def test_failures_are_counted_by_gate_and_message() -> None:
    entries = [entry(0, 50.0), entry(1, gate="stopped"), *(entry(n, gate="shape", message="x") for n in (2, 3))]
    assert fallen([*entries, entry(4, gate="crash", message="y")]) == [
        {"gate": "shape", "candidates": 2, "message": "x"},
        {"gate": "crash", "candidates": 1, "message": "y"},
    ]
