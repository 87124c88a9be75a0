"""The winner, served by MLflow's own command."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.tracker import Tracker
from tests.tasks.test_tracking import winner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_champion_answers(tmp_path: Path) -> None:
    final, data, layer = winner(tmp_path)
    tracker = Tracker(tmp_path / "mlflow", "k1", "search k1")
    tracker.log_champion(final, data, "llmastool-digits")

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = ["models", "serve", "-m", "models:/llmastool-digits@champion", "--env-manager", "local", "--port", str(port)]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": tracker.uri, "DO_NOT_TRACK": "true"}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *argv], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        images = np.arange(3 * 4).reshape(3, 1, 2, 2) * 20
        answer = ask(f"http://127.0.0.1:{port}", {"inputs": images.tolist()}, server, tmp_path / "log")
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    expected = layer((torch.from_numpy(images).float().flatten(1) / 255 - 0.5) / 0.25)
    np.testing.assert_allclose(answer["predictions"], expected.detach().numpy(), rtol=1e-4, atol=1e-4)


def ask(url: str, body: object, server: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(
        f"{url}/invocations", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            with opener.open(f"{url}/ping", timeout=5):
                break
        except OSError:
            time.sleep(0.5)
    with opener.open(request, timeout=60) as reply:
        found: dict[str, Any] = json.load(reply)
    return found
