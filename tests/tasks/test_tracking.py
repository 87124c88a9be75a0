"""MLflow as a view, on a real SQLite database: complete, written once, mended, and never in the search's way."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmastool.candidate import Candidate
from llmastool.canonical import write_json
from llmastool.outcome import Outcome
from llmastool.trees.profile import Profile
from llmastool.trees.tree import Tree
from tasks.records import TEXT_LIMIT, RunRecord, flatten, record
from tasks.tracker import Tracker, TrackingError

START = Tree("torch.nn.Sequential", {}, (("0", Tree("torch.nn.Flatten")), ("1", Tree("torch.nn.LazyLinear"))))
CHILD = START.with_node("0", Tree("torch.nn.Identity"))
FINISHED = 1_700_000_000.0


@pytest.fixture(scope="module", autouse=True)
def settings() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DO_NOT_TRACK", "true")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_LOGGING_LEVEL", "WARNING")
        yield


def trained(epochs: int = 3, key: str = "k1") -> RunRecord:
    curve = tuple(
        {"epoch": e, "train_loss": 1 / e, "validation_accuracy": 80.0 + e, "lr": 0.1, "seconds": 2.0}
        for e in range(1, epochs + 1)
    )
    outcome = Outcome(
        candidate=START.id, gate="ok", metrics={"validation_accuracy": 80.0 + epochs}, curve=curve, seconds=10.0
    )
    profile = Profile(slots=(), in_shape=(2, 1, 8, 8), out_shape=(2, 10), parameters=650, flops=640, depth=1)
    candidate = Candidate(tree=START, round=0, index=0, parent=None, change="linear", plan=None, fill=None)
    return record(
        f"{key}/{candidate.name}", candidate, profile, outcome, finished=FINISHED, parent=None, source="torch"
    )


def fallen(key: str = "k1") -> RunRecord:
    parent = trained(key=key).trial_key
    candidate = Candidate(
        tree=CHILD,
        round=1,
        index=4,
        parent=START.id,
        change="replace 0",
        plan={"kind": "replace", "slot": "0", "family": "identity", "expected_gain": 0.25},
        fill={"key": "b", "filler": "rules", "rationale": "drawn at random", "fallback": ""},
    )
    outcome = Outcome(candidate=CHILD.id, gate="shape", message="m" * 9000, seconds=0.5)
    return record(
        f"{key}/{candidate.name}",
        candidate,
        None,
        outcome,
        finished=FINISHED,
        parent=START,
        source="torch",
        parent_key=parent,
    )


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with both runs in it."""
    root = tmp_path_factory.mktemp("mlflow")
    assert Tracker(root, "k1", "search k1", {"seed": "0", "data.name": "digits"}).write([trained(), fallen()]) == 2
    return root


def runs_of(tracker: Tracker) -> dict[str, Any]:
    client = tracker._client
    experiment = client.get_experiment_by_name("llmastool")
    return {run.data.tags["trial_key"]: run for run in client.search_runs([experiment.experiment_id])}


def test_a_search_is_a_parent_with_a_nested_run_for_each_candidate(template: Path) -> None:
    tracker = Tracker(template, "k1", "search k1")
    runs = runs_of(tracker)
    parent, ok, bad = runs["k1"], runs[trained().trial_key], runs[fallen().trial_key]
    assert parent.data.params == {"seed": "0", "data.name": "digits"}
    assert {ok.data.tags["mlflow.parentRunId"], bad.data.tags["mlflow.parentRunId"]} == {parent.info.run_id}
    assert (ok.info.status, ok.data.tags["gate"]) == ("FINISHED", "ok")
    assert (bad.info.status, bad.data.tags["gate"]) == ("FAILED", "shape")
    assert bad.data.tags["message"] == "m" * TEXT_LIMIT
    assert bad.data.tags["parent"] == START.id
    assert bad.data.params["plan.slot"] == "0"
    assert bad.data.params["fill.filler"] == "rules"
    assert "fill.fallback" not in bad.data.params
    assert ok.data.metrics["parameters"] == 650
    assert (ok.info.start_time, ok.info.end_time) == (int(FINISHED * 1000) - 10_000, int(FINISHED * 1000))


def test_a_candidate_leads_to_its_parent(template: Path) -> None:
    runs = runs_of(Tracker(template, "k1", "search k1"))
    ok, bad = runs[trained().trial_key], runs[fallen().trial_key]
    assert bad.data.tags["parent_run"] == ok.info.run_id
    assert bad.data.tags["mlflow.note.content"].splitlines() == [
        "replace 0",
        "",
        f"Made from [its parent](#/experiments/{ok.info.experiment_id}/runs/{ok.info.run_id}).",
    ]
    assert ok.data.tags["mlflow.note.content"] == "linear" and "parent_run" not in ok.data.tags


def test_the_machine_is_watched_while_a_search_runs(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
    root = tmp_path / "mlflow"
    shutil.copytree(template, root)
    tracker = Tracker(root, "k7", "search k7")
    with tracker.watching():
        deadline = time.monotonic() + 60
        while not (found := runs_of(tracker)["k7"].data.metrics) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert 0 <= found["system/cpu_utilization_percentage"] <= 100
    assert found["system/system_memory_usage_megabytes"] > 0


def test_epochs_are_stamped_with_when_they_ended(template: Path) -> None:
    tracker = Tracker(template, "k1", "search k1")
    run = runs_of(tracker)[trained().trial_key]
    history = tracker._client.get_metric_history(run.info.run_id, "epoch.validation_accuracy")
    begin = int(FINISHED * 1000) - 10_000
    assert [(m.step, m.value, m.timestamp) for m in history] == [
        (1, 81.0, begin + 2000),
        (2, 82.0, begin + 4000),
        (3, 83.0, begin + 6000),
    ]


def test_artifacts_hold_the_tree_and_its_difference_to_the_parent(template: Path) -> None:
    tracker = Tracker(template, "k1", "search k1")
    run = runs_of(tracker)[fallen().trial_key]
    folder = template / "artifacts" / run.info.run_id / "artifacts"
    assert Tree.from_json(json.loads((folder / "tree.json").read_text())) == CHILD
    diff = (folder / "diff.txt").read_text().splitlines()
    assert [line.strip("+- ").strip() for line in diff if line[0] in "+-" and line[:3] not in ("+++", "---")] == [
        '"module": "torch.nn.Flatten"',
        '"module": "torch.nn.Identity"',
    ]
    assert Outcome.from_json(json.loads((folder / "outcome.json").read_text())).gate == "shape"


def test_what_is_there_is_not_written_again(template: Path) -> None:
    tracker = Tracker(template, "k1", "search k1")
    before = {key: run.info.run_id for key, run in runs_of(tracker).items()}
    assert tracker.write([trained(), fallen()]) == 0
    assert {key: run.info.run_id for key, run in runs_of(tracker).items()} == before


def test_a_run_cut_short_is_made_anew(template: Path) -> None:
    tracker, ok, bad = Tracker(template, "k2", "search k2"), trained(key="k2"), fallen("k2")
    assert tracker.write([ok]) == 1
    first = runs_of(tracker)[ok.trial_key].info.run_id
    tracker._client.update_run(first, status="RUNNING")  # as a kill in the middle leaves it
    assert Tracker(template, "k2", "search k2").write([ok, bad]) == 2
    again = runs_of(tracker)[ok.trial_key]
    assert again.info.run_id != first
    assert len(tracker._client.get_metric_history(again.info.run_id, "epoch.lr")) == 3


def test_long_curves_are_written_whole(template: Path) -> None:
    tracker, long = Tracker(template, "k3", "search k3"), trained(600, "k3")
    tracker.write([long])
    run = runs_of(tracker)[long.trial_key]
    assert len(tracker._client.get_metric_history(run.info.run_id, "epoch.validation_accuracy")) == 600


def test_the_summary_follows_the_search(template: Path) -> None:
    tracker = Tracker(template, "k6", "search k6")
    for step, best in ((4, 83.0), (4, 83.0), (12, 82.0)):
        tracker.summarise({"best": best}, step=step, finished=False)
    parent = runs_of(tracker)["k6"]
    assert (parent.data.metrics, parent.info.status) == ({"best": 82.0}, "RUNNING")
    assert [(m.step, m.value) for m in tracker._client.get_metric_history(parent.info.run_id, "best")] == [
        (4, 83.0),
        (12, 82.0),
    ]
    tracker.summarise({}, step=12, finished=True)
    assert runs_of(tracker)["k6"].info.status == "FINISHED"


def test_a_broken_database_is_said_at_once(tmp_path: Path) -> None:
    broken, folder = tmp_path / "broken", tmp_path / "folder"
    broken.mkdir()
    (broken / "mlflow.db").write_bytes(b"no database" * 1000)
    (folder / "mlflow.db").mkdir(parents=True)
    start = time.monotonic()
    with pytest.raises(TrackingError, match=r"could not be written: .*not a database.*run the same command again"):
        Tracker(broken, "k1", "search k1").write([trained()])
    with pytest.raises(TrackingError, match="could not be written: unable to open"):
        Tracker(folder, "k1", "search k1").write([trained()])
    assert time.monotonic() - start < 10


def test_what_could_not_be_written_is_written_later(template: Path, tmp_path: Path) -> None:
    root = tmp_path / "mlflow"
    root.write_text("a file where the folder should be")
    with pytest.raises(TrackingError, match="could not be written"):
        Tracker(root, "k4", "search k4").write([trained(key="k4")])
    root.unlink()
    shutil.copytree(template, root)
    assert Tracker(root, "k4", "search k4").write([trained(key="k4")]) == 1


BEST = """
import torch
from torch import nn

def build_model():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    return net
"""


def winner(folder: Path) -> tuple[Path, Path, Any]:
    """Write a final stage and a prepared set into a folder; return them, and the winner's one layer."""
    import torch
    from safetensors.torch import save_file

    final, data = folder / "final", folder / "data"
    write_json(final / "best.json", START.to_json())
    (final / "best.py").write_text(BEST)
    layer = torch.nn.Linear(4, 3)
    save_file({"1.weight": layer.weight.detach(), "1.bias": layer.bias.detach()}, final / "weights.safetensors")
    write_json(data / "meta.json", {"shape": [1, 2, 2], "classes": 3, "mean": [0.5], "std": [0.25]})
    return final, data, layer


def test_the_winner_becomes_a_model_that_takes_raw_images(template: Path, tmp_path: Path) -> None:
    import mlflow
    import torch

    final, data, layer = winner(tmp_path)
    tracker = Tracker(template, "k5", "search k5")

    assert tracker.log_champion(final, data, "winner") == "1"
    assert Tracker(template, "k5", "search k5").log_champion(final, data, "winner") == "1"

    # What is known of the search is still taken once it has a model.
    tracker.summarise({"final.test_accuracy_mean": 90.0}, step=0, finished=True)
    tracker.summarise({"final.test_accuracy_mean": 90.0}, step=0, finished=True)
    images = np.arange(3 * 4, dtype=np.uint8).reshape(3, 1, 2, 2) * 20
    mlflow.set_tracking_uri(tracker.uri)
    with pytest.warns(UserWarning, match="type hints"):  # MLflow's advice to whoever writes a model
        loaded = mlflow.pyfunc.load_model("models:/winner@champion")
    expected = layer((torch.from_numpy(images).float().flatten(1) / 255 - 0.5) / 0.25)
    np.testing.assert_allclose(loaded.predict(images), expected.detach().numpy(), rtol=1e-5, atol=1e-5)


def test_passwords_in_addresses_are_not_sent() -> None:
    sources = [{"kind": "git", "url": "https://user:token@host/repo"}]
    flat = flatten({"mining": {"sources": sources}, "runner": {"store": "sftp://u:p@host/x"}})
    assert flat["runner.store"] == "sftp://host/x" and "https://host/repo" in flat["mining.sources"]
    assert "token" not in str(flat)


def test_parameters_are_flattened() -> None:
    assert flatten({"seed": 1, "data": {"name": "x", "limit": None}, "list": [1]}) == {
        "seed": "1",
        "data.name": "x",
        "data.limit": "None",
        "list": "[1]",
    }
