"""What a training's process leaves behind is foreign code's word, and is taken for a result only where it can be one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmastool.training import process
from llmastool.training.job import Job, run
from llmastool.training.recipe import Recipe, TrainingConfig
from llmastool.trees.tree import Tree

LINEAR = Tree(
    "torch.nn.Sequential",
    {},
    (("0", Tree("torch.nn.Flatten")), ("1", Tree("torch.nn.Linear", {"in_features": 64, "out_features": 10}))),
)
EPOCH = {"epoch": 1, "validation_accuracy": 50.0}
OK = {"gate": "ok", "message": "", "metrics": {"validation_accuracy": 50.0}, "curve": [EPOCH, EPOCH]}
LEFT = {**OK, "gate": "stopped", "curve": [EPOCH]}


def ended(result: object, data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> str:
    """Return the gate of a training whose process writes this as its result and does nothing else."""
    given = folder.with_name("given.json")
    given.write_text(result if isinstance(result, str) else json.dumps(result))
    argv = ["cp", str(given), str(folder / "work" / process.RESULT)]
    monkeypatch.setattr(process, "command", lambda *_: argv)
    job = Job(tree=LINEAR, registry=None, data=data, recipe=Recipe(epochs=2), seed=0, device="cpu", **fields)
    return run(job, folder, TrainingConfig(recipe=job.recipe, seconds=30)).gate


def test_a_whole_result_is_taken(few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended(OK, few_digits, tmp_path / "a", monkeypatch) == "ok"
    assert ended(LEFT, few_digits, tmp_path / "b", monkeypatch, until=1) == "stopped"
    tested = {**OK, "metrics": {"test_accuracy": 40.0}, "curve": [{"epoch": 1}, {"epoch": 2}]}
    asked = {"train_on": "train+validation", "evaluate_on": "test"}
    assert ended(tested, few_digits, tmp_path / "c", monkeypatch, **asked) == "ok"
    assert ended(OK, few_digits, tmp_path / "d", monkeypatch, **asked) == "crash", "there is no test accuracy"


@pytest.mark.parametrize(
    "result",
    [
        {**OK, "gate": "stopped"},
        {**LEFT, "curve": []},
        LEFT,
        {**OK, "curve": [EPOCH]},
        {**OK, "curve": [EPOCH, {"epoch": 2}]},
        {**OK, "metrics": {}},
        {**OK, "metrics": {"validation_accuracy": "50"}},
        json.dumps(OK).replace("50.0", "NaN"),
        json.dumps(OK).replace("50.0", "1e999"),
        {**OK, "gate": "great"},
        [OK],
        "",
    ],
)
def test_what_cannot_be_a_result_is_a_crash(
    result: object, few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ended(result, few_digits, tmp_path / "trial", monkeypatch) == "crash"
