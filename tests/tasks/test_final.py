"""The table of curves holds every epoch of every training, failed ones as far as they came."""

from __future__ import annotations

from pathlib import Path

from llmastool.candidate import Candidate
from llmastool.outcome import Outcome
from llmastool.trees.tree import Tree
from tasks.final import curves


def test_curves() -> None:
    tree = Tree("torch.nn.Identity")
    network = Candidate(tree=tree, round=1, index=2, parent=None, change="", plan=None, fill=None)
    whole = Outcome(
        candidate=tree.id,
        gate="ok",
        curve=(
            {"epoch": 1, "train_loss": 0.5, "train_accuracy": 80.0, "lr": 0.1},
            {"epoch": 2, "train_loss": 0.25, "train_accuracy": 90.0, "lr": 0.0},
        ),
    )
    fell = Outcome(candidate=tree.id, gate="timeout", message="not done")
    table = curves([(network, [(0, whole, Path("a")), (1, fell, Path("b"))])])
    assert table.splitlines() == [
        "network,seed,epoch,train_loss,train_accuracy,lr",
        f"{network.name},0,1,0.5,80.0,0.1",
        f"{network.name},0,2,0.25,90.0,0.0",
    ]
