"""What the demo says at the end comes from the stages' outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmastool.canonical import write_json
from pipelines import demo
from pipelines.demo import summary


def entry(gate: str, plan: str | None, accuracy: float | None) -> dict[str, Any]:
    metrics = {} if accuracy is None else {"validation_accuracy": accuracy}
    return {"candidate": {"plan": plan}, "outcome": {"gate": gate, "metrics": metrics}}


def lay_out(folder: Path, entries: list[dict[str, Any]], final: dict[str, Any]) -> None:
    source = {"name": "torchvision", "found": 286, "sliced": 286, "loaded": 280, "built": 221, "forward": 147}
    write_json(folder / "registry" / "summary.json", {"sources": [source]})
    write_json(folder / "search" / "archive.json", {"entries": entries})
    write_json(folder / "final" / "final.json", final)


def test_parameters_are_put_back_where_the_demo_changed_them_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("seed: 0")

    def edited(_: object) -> int:
        params.write_text("seed: 1")
        return 0

    monkeypatch.setattr(demo, "_dvc", edited)
    assert demo._repro(["seed=1"], params) == 0 and params.read_text() == "seed: 0"
    assert demo._repro([], params) == 0 and params.read_text() == "seed: 1", "somebody's own change is left alone"


def test_the_funnel_the_search_and_the_winner_are_told(tmp_path: Path) -> None:
    seeds = [{"gate": gate} for gate in ("ok", "ok", "timeout")]
    finalist = {"id": "b", "name": "r01-00-b", "test_accuracy": {"mean": 97.5, "sd": 0.25, "seeds": seeds}}
    entries = [entry("ok", None, 95.0), entry("ok", "a", 98.0), entry("shape", "a", None), entry("shape", "a", None)]
    lay_out(tmp_path, entries, {"best": "b", "finalists": [finalist]})
    lines = list(summary(tmp_path, 12.3))
    assert "torchvision: 286 found, 286 sliced, 280 loaded, 221 built, 147 forward" in lines
    assert "search: 4 candidates, 2 trained, fell: 2 at shape" in lines
    assert "best validation accuracy, start population: 95.00%" in lines
    assert "best validation accuracy, all: 98.00%" in lines
    assert "test accuracy of r01-00-b: 97.50% ± 0.25 over 2 seeds, the winner by validation" in lines
    assert any(line.endswith("report.html") for line in lines)
    assert "runs     make mlflow, then http://127.0.0.1:5000" in lines


def test_a_single_seed_has_no_spread(tmp_path: Path) -> None:
    finalist = {"id": "b", "name": "r01-00-b", "test_accuracy": {"mean": 97.5, "sd": None, "seeds": [{"gate": "ok"}]}}
    lay_out(tmp_path, [entry("ok", None, 95.0)], {"best": "b", "finalists": [finalist]})
    assert "test accuracy of r01-00-b: 97.50% over 1 seed, the winner by validation" in list(summary(tmp_path, 1))


def test_a_search_in_which_nothing_was_trained_is_told_as_that(tmp_path: Path) -> None:
    lay_out(tmp_path, [entry("numerics", None, None)], {"best": None, "finalists": []})
    lines = list(summary(tmp_path, 1))
    assert "search: 1 candidates, 0 trained, fell: 1 at numerics" in lines
    assert "final: no network was trained to the end" in lines


@pytest.mark.parametrize("ends", [0, 1, KeyboardInterrupt()])
def test_changed_parameters_are_put_back_however_the_run_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ends: int | BaseException
) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("filler:\n  kind: auto   # a comment\n")

    def dvc(changes: list[str]) -> int:
        assert changes == ["filler.kind=local"]
        params.write_text("filler:\n  kind: local\n")
        if isinstance(ends, BaseException):
            raise ends
        return ends

    monkeypatch.setattr(demo, "_dvc", dvc)
    if isinstance(ends, BaseException):
        with pytest.raises(KeyboardInterrupt):
            demo._repro(["filler.kind=local"], params)
    else:
        assert demo._repro(["filler.kind=local"], params) == ends
    assert params.read_text() == "filler:\n  kind: auto   # a comment\n"
