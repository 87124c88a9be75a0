"""The command of a stage: quick help, one clear line for what is the user's to mend, nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmastool.runs import only_writer
from pipelines.stage import STAGES

ROOT = Path(__file__).resolve().parent.parent.parent
PARAMS = (ROOT / "params.yaml").read_text()


@pytest.fixture
def environment() -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "DVC_"))}
    return {**inherited, "PYTHONPATH": str(ROOT)}


def stage(*argv: str, cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.stage", *argv]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=200, check=False)


def test_help_imports_nothing_heavy(environment: dict[str, str]) -> None:
    code = (
        "import sys\nfrom pipelines.stage import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "print(sorted({'torch', 'prefect', 'mlflow', 'polars', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(f"  {name} " in done.stdout for name in STAGES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "prepare: params.yaml: no such file; run from the folder that holds it, or name it with --params"),
        (PARAMS + "serch: {}\n", "prepare: params.serch: unknown key; did you mean 'search'?"),
        (PARAMS.replace("seed: 0", "seed: [0"), "prepare: params.yaml, line"),
    ],
)
def test_bad_parameters_end_in_one_line(
    text: str | None, expected: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    if text is not None:
        (tmp_path / "params.yaml").write_text(text)
    done = stage("prepare", cwd=tmp_path, environment=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(expected)
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / ".prefect").exists()


def test_a_server_that_is_not_there_is_named(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    url = "http://127.0.0.1:9/api"
    done = stage("prepare", cwd=tmp_path, environment={**environment, "PREFECT_API_URL": url})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"prepare: PREFECT_API_URL={url}: expected a Prefect server there, found none ([Errno 111] Connection refused); "
        "start it (`make server`), or unset PREFECT_API_URL\n"
    )


def test_a_second_writer_is_told_who_writes(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    with only_writer(tmp_path / "artifacts" / "prepare"):
        done = stage("prepare", cwd=tmp_path, environment=environment)
    assert done.returncode == 2
    assert done.stderr.startswith(f"prepare: artifacts/prepare: process {os.getpid()} (")
    assert done.stderr.strip().endswith("is writing it; wait for its end, or stop it")


def test_a_stage_runs_its_flow_and_says_what_the_user_has_to_mend(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    missing = stage("prepare", cwd=tmp_path, environment=environment)
    assert missing.returncode == 2, missing.stderr
    assert missing.stderr.startswith("prepare: data/digits: no such file or folder; get it with")
    assert "Traceback" not in missing.stderr

    shutil.copytree(ROOT / "assets" / "digits", tmp_path / "data" / "digits")
    done = stage("prepare", cwd=tmp_path, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "digits: 1079 train, 359 validation, 359 test images of [1, 8, 8] in 10 classes" in done.stderr
    assert sorted(path.name for path in (tmp_path / "artifacts" / "prepare").iterdir()) == [
        "meta.json",
        *(f"{split}-{what}.npy" for split in ("test", "train", "validation") for what in ("images", "labels")),
    ]


@pytest.mark.parametrize(("number", "status", "word"), [(signal.SIGINT, 130, "stopped"), (signal.SIGTERM, 143, "told")])
def test_a_stage_that_is_stopped_leaves_nothing_and_says_how_to_go_on(
    number: signal.Signals, status: int, word: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    command = [sys.executable, "-m", "pipelines.stage", "mine"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe, text=True) as mine:
        try:
            wait_for_server(tmp_path / ".prefect")
            mine.send_signal(number)
            _, err = mine.communicate(timeout=60)
        finally:
            mine.kill()
    assert mine.returncode == status, err
    assert err.splitlines()[-1].startswith(f"mine: {word}")
    assert err.splitlines()[-1].endswith("python -m pipelines.stage mine")
    assert not processes_of(tmp_path / ".prefect")


def processes_of(home: Path) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"PREFECT_HOME={home}\0".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def wait_for_server(home: Path) -> None:
    deadline = time.monotonic() + 60
    while not processes_of(home):
        assert time.monotonic() < deadline
        time.sleep(0.1)
