"""The process of Prefect's server: who asks for slots takes turns, and a port that is taken is named."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

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


@pytest.fixture
def environment() -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    return {**inherited, "PYTHONPATH": str(ROOT)}


def test_who_asks_for_slots_is_not_refused_while_others_write(tmp_path: Path, environment: dict[str, str]) -> None:
    """Plain Prefect answers with 503 where somebody wrote between such a request's reading and its writing.

    What it then leaves lying around can make the whole server stand still for a minute.
    """
    argv = [sys.executable, "-c", CLIENTS, str(tmp_path)]
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
