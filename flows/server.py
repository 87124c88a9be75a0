"""A Prefect API server of our own, for as long as a run lasts.

Prefect's own temporary server outlives a flow that is killed, and keeps its pipes open. This one ends with the process
that started it, however that ends. Where `PREFECT_API_URL` is set already, that server is used and none is started.
Nothing here imports Prefect: the address has to be in the environment before Prefect reads its settings.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from llmastool.errors import LLMasToolError

START_SECONDS = 180
"""How long the server may take to come up; a busy machine needs half a minute, the first start makes the tables."""

PRIVATE = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Settings under which no tool reports home, unless the caller set them otherwise."""

QUIET = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS": "flows.console.Console",
    "PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT": "%(asctime)s %(flow_name)s: %(message)s",
    "PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT": "%(asctime)s %(task_run_name)s: %(message)s",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "DASK_LOGGING__DISTRIBUTED": "error",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Settings under which the console shows what the run says, not what its machinery does."""


class ServerError(LLMasToolError):
    """The Prefect server did not come up."""


def set_environment() -> None:
    """Make Prefect, MLflow and DVC quiet and private in this process and its children."""
    for name, value in {**PRIVATE, **QUIET}.items():
        os.environ.setdefault(name, value)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the one that started it ends.

    Args:
        parent: its process id; if it has ended already, so does this process.
    """
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


@dataclass(frozen=True)
class Server:
    """A Prefect server, maybe still coming up."""

    url: str
    process: subprocess.Popen[bytes] | None = None
    """None where somebody else started it."""
    log: Path | None = None

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            ServerError: it did not come up, or nobody is there; the message says where to look.
        """
        # Loopback needs no proxy, whatever the environment says.
        local = urllib.parse.urlsplit(self.url).hostname in ("127.0.0.1", "localhost", "::1")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({} if local else None))
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                raise ServerError(f"the Prefect server ended with status {self.process.returncode}; see {self.log}")
            try:
                with opener.open(f"{self.url}/health", timeout=5):
                    return
            except urllib.error.HTTPError as error:
                if self.process is None or error.code < HTTPStatus.INTERNAL_SERVER_ERROR:
                    return
            except OSError as error:
                reason = getattr(error, "reason", error)
                if self.process is None and not isinstance(reason, TimeoutError | ConnectionResetError):
                    raise ServerError(
                        f"PREFECT_API_URL={self.url}: expected a Prefect server there, found none ({reason}); "
                        "start it (`make server`), or unset PREFECT_API_URL"
                    ) from error
            time.sleep(0.2)
        raise ServerError(f"{self.url}: the Prefect server did not answer in {START_SECONDS} s; see {self.log or 'it'}")


@contextmanager
def prefect_server(home: Path = Path(".prefect")) -> Iterator[Server]:
    """Have a Prefect server, whose address is in `PREFECT_API_URL` meanwhile; `wait` for it before a flow is run.

    Call it from the main thread, before Prefect is imported: the kernel ends the server with the thread that began it.

    Args:
        home: folder of its database and of its log, `server.log`; made where it is missing.
    """
    set_environment()
    if given := os.environ.get("PREFECT_API_URL"):
        try:
            yield Server(given)
        finally:
            _flush()
        return
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    os.environ["PREFECT_HOME"] = str(home)
    # The port is bound here and handed over, so that nobody else can take it in between.
    with socket.create_server(("127.0.0.1", 0)) as listener, (home / "server.log").open("ab") as log:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
        process = _start(listener, log.fileno(), url)
    os.environ["PREFECT_API_URL"] = url
    try:
        yield Server(url, process, home / "server.log")
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        if process.poll() is None:
            _flush()
        _stop(process)


def _start(listener: socket.socket, log: int, url: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PREFECT_API_URL": url, "PREFECT_SERVER_UI_ENABLED": "false"}
    # Its console is the log file, which Prefect's plain handler serves best.
    for name in QUIET:
        if name.startswith("PREFECT_LOGGING_"):
            environment.pop(name, None)
    return subprocess.Popen(
        [sys.executable, "-m", "flows.serve", str(listener.fileno()), str(os.getpid())],
        env=environment,
        cwd=Path(__file__).resolve().parent.parent,
        pass_fds=[listener.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        # Ctrl-C goes to the whole group of the terminal; the server must outlive the flow's last words.
        start_new_session=True,
    )


def _flush() -> None:
    """Send what Prefect still holds back: log lines and events are sent from threads, in batches."""
    if "prefect" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogHandler

    APILogHandler().flush()
    EventsWorker.drain_all(timeout=10)


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
