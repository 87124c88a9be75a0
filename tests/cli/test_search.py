"""A whole search from the command line, without a workflow engine: prepared, searched, stopped, resumed, tested."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmastool.canonical import read_lines
from tests.cli.conftest import Run, parsed

ROOT = Path(__file__).resolve().parents[2]
PARAMS = f"""
data: {{path: {ROOT}/assets/digits, limit: 300}}
mining: {{sources: [{{kind: path, path: /nowhere}}]}}
start: {{skeletons: [{{channels: 4, cells: 1, stages: 2}}]}}
budget: {{parameters: 60000, flops: 20000000}}
search: {{rounds: 2, per_round: 1, ahead: true, pool: 6, doubles: 0, fresh: 1}}
filler: {{kind: rules}}
training: {{recipe: {{epochs: 1, batch_size: 32, lr: 0.05}}, seconds: 60}}
final: {{top: 1, seeds: [0, 1]}}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with parameters, which the program runs in."""
    (tmp_path / "params.yaml").write_text(PARAMS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_all_stages(here: Path, registry_folder: Path, run: Run) -> None:
    registry = ("--registry", str(registry_folder))
    status, out, err = run("search", *registry)
    assert status == 0, err
    assert "preparing digits ..." in err and "run folder runs/" in err
    *rounds, last = out.splitlines()
    assert rounds[0].startswith("round 1 of 2: 1 candidates, 1 trained, best ")
    assert rounds[-1].startswith("round 2 of 2: 3 candidates, ")
    assert last.startswith("3 candidates, best validation accuracy ") and last.endswith("artifacts/search/archive.json")
    archive = (here / "artifacts/search/archive.json").read_bytes()
    (log,) = here.glob("runs/*/events.jsonl")
    assert [e["event"] for e in read_lines(log)] == ["asked", "told", "asked", "planned", "told", "asked", "told"]

    status, out, _ = run("search", *registry)
    assert status == 0 and (here / "artifacts/search/archive.json").read_bytes() == archive, "nothing is done twice"
    (here / "params.yaml").write_text(PARAMS.replace("limit: 300", "limit: 200"))
    status, _, err = run("search", *registry)
    assert status == 2 and "expected images as params.yaml asks for them, found others" in err
    (here / "params.yaml").write_text("changed since")
    (here / "artifacts/search/archive.json").unlink()
    status, _, err = run("resume")
    assert status == 0, err
    assert (here / "artifacts/search/archive.json").read_bytes() == archive

    (here / "params.yaml").write_text(PARAMS)
    meta = here / "artifacts/prepare/meta.json"
    text = meta.read_text()
    meta.write_text(text.replace('"digest": "', '"digest": "0'))
    status, _, err = run("resume")
    assert status == 2 and "was begun with other images" in err
    meta.write_text(text)
    status, out, err = run("final", *registry)
    assert status == 0, err
    assert out.startswith("the winner: test accuracy ") and out.endswith(" over 2 seeds\n")
    status, out, err = run("export", *registry)
    assert status == 0, err
    assert "its weights, as given" in out
    weights = [(here / folder / "weights.safetensors").read_bytes() for folder in ("exported", "artifacts/final")]
    assert weights[0] == weights[1]
    status, out, err = run("report", *registry)
    assert status == 0, err
    assert (here / out.strip()).read_text().startswith("<!doctype html>")


def test_stopped_it_leaves_nothing_and_goes_on(here: Path, registry_folder: Path) -> None:
    argv = [sys.executable, "-m", "llmastool.cli", "search", "--registry", str(registry_folder)]
    longer = PARAMS.replace("epochs: 1,", "epochs: 400,")
    (here / "params.yaml").write_text(longer)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, cwd=here, env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not list(here.glob("runs/*/trials/*/work/checkpoint.pt")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "llmastool: stopped; what is done is kept, `llmastool resume` goes on"
    time.sleep(1)
    workers = subprocess.run(["pgrep", "-f", f"llmastool.training.worker.*{here}"], capture_output=True, check=False)
    assert workers.stdout == b""


@pytest.mark.usefixtures("here")
def test_resume_where_there_is_nothing(run: Run) -> None:
    assert run("resume") == (
        2, "", "llmastool: runs: expected the run folder of a search, found none; begin one with `llmastool search`\n"
    )  # fmt: skip
    status, _, err = run("resume", "runs/none")
    assert status == 2 and err.startswith(
        "llmastool: runs/none: expected the run folder of a search (invocation.json in"
    )


def test_what_is_missing_is_said(here: Path, run: Run) -> None:
    status, _, err = run("search", "--registry", "nowhere")
    assert status == 2 and "nowhere" in err and "dvc repro registry" in err
    status, _, err = run("final")
    assert status == 2 and "registry" in err
    status, _, err = run("export")
    assert status == 2 and err.startswith(
        "llmastool: artifacts/final/best.json: expected the winner of the final stage"
    )
    (here / "params.yaml").unlink()
    status, _, err = run("search")
    assert status == 2 and "params.yaml" in err


def test_doctor(here: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    found = {finding["name"]: finding for finding in parsed(run, "doctor")}
    assert found["torch"]["state"] == found["sandbox"]["state"] == found["parameters"]["state"] == "ok"
    assert found["LLM"]["found"] == "OPENAI_API_KEY set"
    assert found["registry"] == {
        "name": "registry", "state": "absent", "found": "no artifacts/registry/registry.parquet",
        "cure": "dvc repro registry",
    }  # fmt: skip
    (here / "params.yaml").write_text("search: {rounds: many}")
    status, out, err = run("doctor")
    assert status == 2 and err == "llmastool: doctor: to be mended: parameters\n"
    assert "sk-secret" not in out + err + json.dumps(found)
