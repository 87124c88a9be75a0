"""A run's own Prefect server: used by a flow, gone with it, however it ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows import server

ROOT = Path(__file__).resolve().parent.parent.parent

FLOW = """
import os, sys, time
from pathlib import Path
from flows.server import prefect_server
with prefect_server(Path(sys.argv[1])) as server:
    from prefect import flow, get_run_logger, task
    from prefect.client.orchestration import get_client
    from llmastool.errors import ConfigError

    @task
    def work(seconds):
        print("working", os.getpid(), flush=True)
        time.sleep(seconds)
        return 21

    @flow(name="probe")
    def probe(seconds: float) -> int:
        get_run_logger().info("its own words")
        return 2 * work.submit(seconds).result()

    @flow(name="refuse")
    def refuse() -> None:
        raise ConfigError("seed: expected 0 or more, got -1")

    server.wait()
    print(probe(float(sys.argv[2])), flush=True)
    try:
        refuse()
    except ConfigError as error:
        print("refused:", error, flush=True)
    with get_client(sync_client=True) as client:
        states = {run.name: run.state_name for run in client.read_flow_runs()}
    print(sorted(states.values()), flush=True)
print("PREFECT_API_URL" in os.environ, flush=True)
"""


@pytest.fixture
def environment() -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    return {**inherited, "PYTHONPATH": str(ROOT)}


@contextmanager
def started(home: Path, seconds: float, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", FLOW, str(home), str(seconds)]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, env=environment, cwd=home.parent, stdout=pipe, stderr=pipe, text=True) as flow:
        try:
            yield flow
        finally:
            flow.kill()


def processes_of(home: Path) -> list[int]:
    """Return the processes whose environment names this Prefect home."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"PREFECT_HOME={home}\0".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue  # it ended meanwhile, or is somebody else's
    return found


def wait_until_gone(home: Path, seconds: float) -> list[int]:
    deadline = time.monotonic() + seconds
    while (left := processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for all, as making its database is most of what a first start takes."""
    return tmp_path_factory.mktemp("flows") / "prefect"


def test_a_flow_runs_on_its_own_server_which_ends_with_it(home: Path, environment: dict[str, str]) -> None:
    with started(home, 0, environment) as flow:
        out, err = flow.communicate(timeout=120)
    assert flow.returncode == 0, err
    lines = out.splitlines()
    assert lines[1:] == ["42", "refused: seed: expected 0 or more, got -1", "['Completed', 'Failed']", "False"]
    assert wait_until_gone(home, 10) == []
    assert (home / "server.log").is_file()
    # The console shows what the flow said, and neither the engine's reports nor a traceback of the user's error.
    assert "its own words" in err
    assert "Finished in state" not in err
    assert "Traceback" not in err


def test_nothing_survives_a_killed_flow(home: Path, environment: dict[str, str]) -> None:
    with started(home, 600, environment) as flow:
        assert flow.stdout is not None
        assert flow.stdout.readline().startswith("working")
        assert len(processes_of(home)) == 1  # the server; the flow itself took its home later than its environment
        flow.kill()
        flow.communicate(timeout=10)  # returns only when nobody holds its pipes any more
    assert wait_until_gone(home, 10) == []


CLIENTS = """
import json, sys, urllib.error, urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from flows.server import prefect_server

def ask(path, body):
    data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(server.url + path, data, headers), timeout=90) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code

def ask_for_slots():
    return ask("/v2/concurrency_limits/increment-with-lease", {"names": ["tag:training"], "slots": 1})

def write(number):
    return ask("/artifacts/", {"key": f"some-{number % 4}", "type": "markdown", "data": "words"})

with prefect_server(Path(sys.argv[1])) as server:
    server.wait()
    with ThreadPoolExecutor(8) as pool:
        slots, writes = [], []
        for number in range(100):
            slots.append(pool.submit(ask_for_slots))
            writes.append(pool.submit(write, number))
    together = [dict(Counter(one.result() for one in many)) for many in (slots, writes)]
    print(json.dumps(together))
"""


def test_who_asks_for_slots_is_not_refused_while_others_write(home: Path, environment: dict[str, str]) -> None:
    """Plain Prefect answers with 503 where somebody wrote between such a request's reading and its writing.

    What it then leaves lying around can make the whole server stand still for a minute.
    """
    argv = [sys.executable, "-c", CLIENTS, str(home)]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [{"200": 100}, {"201": 100}]


def test_a_port_that_is_taken_is_named(tmp_path: Path, environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "flows.serve"],
            cwd=tmp_path,
            env={**environment, "PREFECT_HOME": str(tmp_path), "PREFECT_SERVER_API_PORT": port},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 2
    assert f"expected to listen at 127.0.0.1:{port}, found that it cannot be had" in done.stderr
    assert "say another: PREFECT_SERVER_API_PORT=4201" in done.stderr


def test_a_given_server_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    for name in (*server.PRIVATE, *server.QUIET):
        monkeypatch.setenv(name, os.environ.get(name, "kept"))
    with server.prefect_server(tmp_path) as found:
        assert found == server.Server("http://127.0.0.1:9/api")
        with pytest.raises(server.ServerError, match=r"127\.0\.0\.1:9/api: expected .*, found none .*`make server`"):
            found.wait()
    assert list(tmp_path.iterdir()) == []
    assert os.environ["PREFECT_API_URL"] == found.url


def test_a_server_that_does_not_start_says_where_to_look(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "prefect.db").mkdir()  # so that the database cannot be opened
    done = subprocess.run(
        [sys.executable, "-c", FLOW, str(tmp_path), "0"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("flows.server.ServerError: the Prefect server ended with status")
    assert str(tmp_path / "server.log") in last
    assert (tmp_path / "server.log").read_text().strip()


def test_dying_with_a_parent_that_is_gone(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = subprocess.run(
            [sys.executable, "-m", "flows.serve", str(listener.fileno()), "1"],
            env=environment,
            pass_fds=[listener.fileno()],
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
