"""Run folders are named by what decides the result, and one process writes an output at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from llmastool.canonical import read_json, write_json
from llmastool.errors import DataError, RegistryError
from llmastool.params import Params
from llmastool.runs import Locked, only_writer, run_folder

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def params() -> Params:
    return Params.load(ROOT / "params.yaml")


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path]:
    data, registry = tmp_path / "data", tmp_path / "registry"
    write_json(data / "meta.json", {"digest": "d1"})
    registry.mkdir()
    (registry / "registry.parquet").write_bytes(b"table")
    (registry / "bundles.jsonl").write_bytes(b"bundles")
    return data, registry


def test_the_same_inputs_lead_to_the_same_folder(params: Params, inputs: tuple[Path, Path], tmp_path: Path) -> None:
    first = run_folder(tmp_path / "runs", params, *inputs)
    assert first == run_folder(tmp_path / "runs", params, *inputs)
    assert read_json(first / "run.json")["search"]["rounds"] == params.search.rounds


def test_what_decides_the_result_leads_to_another_folder(
    params: Params, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    data, registry = inputs
    root = tmp_path / "runs"
    folders = [run_folder(root, params, data, registry), run_folder(root, replace(params, seed=9), data, registry)]
    recipe = replace(params.training.recipe, epochs=99)
    longer = replace(params, training=replace(params.training, recipe=recipe))
    folders.append(run_folder(root, longer, data, registry))
    write_json(data / "meta.json", {"digest": "d2"})
    folders.append(run_folder(root, params, data, registry))
    (registry / "registry.parquet").write_bytes(b"another")
    folders.append(run_folder(root, params, data, registry))
    assert len(set(folders)) == len(folders)


def test_what_changes_only_the_time_does_not(params: Params, inputs: tuple[Path, Path], tmp_path: Path) -> None:
    wider = replace(params, training=replace(params.training, workers=params.training.workers + 5))
    assert run_folder(tmp_path, wider, *inputs) == run_folder(tmp_path, params, *inputs)


def test_missing_inputs_are_said_with_their_cure(params: Params, inputs: tuple[Path, Path], tmp_path: Path) -> None:
    data, registry = inputs
    with pytest.raises(RegistryError, match=r"registry\.parquet: no such file; make it with `dvc repro registry`"):
        run_folder(tmp_path, params, data, tmp_path / "nothing")
    with pytest.raises(DataError, match="prepare the data again"):
        run_folder(tmp_path, params, tmp_path / "nothing", registry)


HOLD = """
import sys
from pathlib import Path
from llmastool.runs import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_ends_however_it_ends(tmp_path: Path) -> None:
    out = tmp_path / "artifacts" / "search"
    command = [sys.executable, "-c", HOLD, str(out)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Locked, match=rf"search: process {holder.pid} \(.*\) is writing it"), only_writer(out):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    with only_writer(out), only_writer(out):  # one process may ask twice, as a stage and its flow do
        pass
    assert not out.exists()
