"""Deployments on a real server: made from prefect.yaml, scheduled, run by a worker of a work pool, and finished."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines.workspace import ROOT, finish, lay_out, load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PREFECT = str(Path(sys.executable).parent / "prefect")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that a deployment runs in, up to the registry."""
    folder = tmp_path_factory.mktemp("deployed")
    lay_out(folder)
    for name in ("flows", "tasks", "prefect.yaml", "prefect.toml"):
        (folder / name).symlink_to(ROOT / name)
    for stage in ("prepare", "mine", "registry"):
        finish(folder, stage)
    return folder


@pytest.fixture(scope="module")
def environment(folder: Path) -> Iterator[dict[str, str]]:
    """A server, and what a command needs to reach it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "DVC_", "OPENAI_"))}
    # prefect.yaml takes the folder from PWD, as a shell sets it.
    environment |= {"PYTHONPATH": str(ROOT), "PWD": str(folder), "DO_NOT_TRACK": "true", "OMP_NUM_THREADS": "1"}
    server_only = {"PREFECT_SERVER_API_PORT": str(port)}
    environment["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "flows.serve"],
            cwd=folder,
            env={**environment, **server_only},
            stdout=log,
            stderr=log,
        )
    try:
        until(lambda: get(f"{environment['PREFECT_API_URL']}/health") is True, 120)
        yield environment
    finally:
        server.terminate()
        server.wait(60)


def until(condition: object, seconds: float) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)


def get(url: str, body: object = None) -> object:
    request = urllib.request.Request(url, headers={"Content-Type": "application/json"})
    if body is not None:
        request.data = json.dumps(body).encode()
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return json.load(answer)
    except OSError:
        return None


def prefect(folder: Path, environment: dict[str, str], *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PREFECT, "--no-prompt", *argv],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def test_a_deployment_is_scheduled_run_by_a_worker_and_finished(folder: Path, environment: dict[str, str]) -> None:
    for argv in (
        ("work-pool", "create", "gpu-pool", "--type", "process", "--overwrite"),
        ("concurrency-limit", "create", "training", "2"),
        ("deploy", "--all"),
    ):
        done = prefect(folder, environment, *argv)
        assert done.returncode == 0, done.stdout + done.stderr

    refused = prefect(folder, environment, "deployment", "run", "search/search", "-p", 'changes={"rounds": -1}')
    assert refused.returncode == 1
    assert "-1 is less than the minimum of 0" in " ".join((refused.stdout + refused.stderr).split())

    with (folder / "worker.log").open("wb") as log:
        command = [PREFECT, "worker", "start", "--pool", "gpu-pool"]
        worker = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        done = prefect(
            folder, environment, "deployment", "run", "search/search", "--watch", "-p", 'changes={"rounds": 1}'
        )
        assert done.returncode == 0, (folder / "worker.log").read_text()[-4000:]
        assert len(load(folder / "artifacts/search/archive.json")["entries"]) == 2 + 3

        resumed = prefect(folder, environment, "deployment", "schedule", "resume", "--all")
        assert resumed.returncode == 0, resumed.stdout + resumed.stderr
        scheduled = prefect(
            folder, environment, "deployment", "schedule", "create", "search/search", "--cron", "* * * * *"
        )
        assert scheduled.returncode == 0, scheduled.stdout + scheduled.stderr
        until(lambda: len(load(folder / "artifacts/search/archive.json")["entries"]) == 2 + 2 * 3, 600)
    finally:
        # A SIGTERM leaves Prefect's worker hanging where a run is under way, as the schedule has one most of the time.
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()

    url = environment["PREFECT_API_URL"]
    found = get(f"{url}/artifacts/latest/filter", {"limit": 50})
    assert isinstance(found, list)
    kinds = {str(one["key"]).partition("-")[0] for one in found}
    assert kinds == {"progress", "leaderboard", "failures"}
    assert max(float(one["data"]) for one in found if one["type"] == "progress") == 100.0
