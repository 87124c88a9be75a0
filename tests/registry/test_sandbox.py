"""What mined code can and cannot do. Every attack runs for real; the proof is looked for from outside."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from llmastool import sandbox
from llmastool.errors import SandboxError
from llmastool.mining.bundle import Bundle
from llmastool.mining.mine import mine_source
from llmastool.mining.sources import SourceSpec
from llmastool.registry.pool import ProbeConfig, run_probes
from llmastool.registry.record import Probe

HOSTILE = """
import os, socket, subprocess, sys, time
from torch import nn

class Fine(nn.Module):
    def forward(self, x): return x * 2

class Loops(nn.Module):
    def __init__(self):
        super().__init__()
        while True: pass
    def forward(self, x): return x

class Sleeps(nn.Module):
    def forward(self, x): time.sleep(60); return x

class Exits(nn.Module):
    def forward(self, x): os._exit(0)

class Raises(nn.Module):
    def forward(self, x): raise SystemExit("bye")

class Eats(nn.Module):
    def __init__(self):
        super().__init__()
        self.hoard = [bytearray(1 << 28) for _ in range(64)]
    def forward(self, x): return x

class Writes(nn.Module):
    def forward(self, x):
        for folder in FOLDERS:
            try: open(os.path.join(folder, "pwned"), "w").write("x")
            except OSError: pass
        return x * 2

class Sends(nn.Module):
    def forward(self, x):
        try: socket.create_connection(("127.0.0.1", PORT), 1).sendall(b"secret")
        except OSError: pass
        return x * 2

class Reads(nn.Module):
    def forward(self, x):
        if "LLMASTOOL_TEST_SECRET" in os.environ or os.path.exists(SECRET_FILE): raise ValueError("leak")
        return x * 2

class Prints(nn.Module):
    def forward(self, x): print("y" * 10_000_000); sys.stdout.flush(); os.write(1, b"z" * 1_000_000); return x * 2

class Forks(nn.Module):
    def forward(self, x):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                subprocess.run(["sleep", "MARK"])
            os._exit(0)
        return x * 2

class Lies(nn.Module):
    def forward(self, x):
        for fd in range(3, 64):
            try: os.write(fd, b'{"module": "lie", "stage": "ok"}\\n')
            except OSError: pass
        return x * 2

class Poisons(nn.Module):
    def forward(self, x):
        nn.Linear.forward = None
        return x * 2
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Probe]]:
    root = tmp_path_factory.mktemp("hostile")
    secret = Path.home() / ".llmastool-test-secret"
    secret.write_text("secret")
    server = socket.create_server(("127.0.0.1", 0))
    got: list[bytes] = []
    threading.Thread(target=lambda: got.append(server.accept()[0].recv(99)), daemon=True).start()
    folders = [str(root), str(Path.home()), str(Path.cwd()), "/var/tmp"]
    prefix = f"FOLDERS, PORT, SECRET_FILE = {folders!r}, {server.getsockname()[1]}, {str(secret)!r}\n"
    (root / "evil").mkdir()
    (root / "evil" / "__init__.py").write_text("")
    (root / "evil" / "mods.py").write_text(prefix + HOSTILE.replace("MARK", "61.23"))
    os.environ["LLMASTOOL_TEST_SECRET"] = "1"
    try:
        bundles = mine_source(SourceSpec(kind="path", path=str(root / "evil"))).bundles
        ids = {b.id: b.qualname for b in bundles}
        config = ProbeConfig(seconds=15, memory_gb=1.0)
        yield {ids[p.module]: p for p in run_probes([*ids], _bundles(bundles), ["evil"], config)}
        assert not got, "something was sent"
        for folder in folders:
            assert not (Path(folder) / "pwned").exists(), f"something was written to {folder}"
    finally:
        server.close()
        secret.unlink()
        del os.environ["LLMASTOOL_TEST_SECRET"]


def _bundles(bundles: tuple[Bundle, ...]) -> list[Bundle]:
    return list(bundles)


def test_every_module_gets_its_own_result(results: dict[str, Probe]) -> None:
    assert len(results) == 13
    assert results["Fine"].stage == "ok"


@pytest.mark.parametrize(
    ("name", "stage", "message"),
    [
        ("Loops", "build", "it used more than 4 s of CPU time|killed: it ran past its time limit"),
        ("Sleeps", "forward", "killed: it ran past its time limit"),
        ("Exits", "forward", "ended by itself with exit code 0"),
        ("Eats", "build", "MemoryError"),
    ],
)
def test_what_breaks_costs_its_own_probe_only(results: dict[str, Probe], name: str, stage: str, message: str) -> None:
    assert results[name].stage == stage
    assert re.search(message, results[name].message)


@pytest.mark.parametrize("name", ["Writes", "Sends", "Reads", "Prints", "Poisons", "Lies"])
def test_what_tries_to_reach_out_runs_and_reaches_nothing(results: dict[str, Probe], name: str) -> None:
    assert results[name].stage == "ok", results[name].message


def test_raising_system_exit_is_a_failure_of_the_module(results: dict[str, Probe]) -> None:
    assert results["Raises"].stage == "forward"


def test_nothing_is_left_running(results: dict[str, Probe]) -> None:
    assert results["Forks"].module
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _running("61.23"):
        time.sleep(0.1)
    assert not _running("61.23")


def _running(mark: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"sleep\0{mark}" in path.read_text():
                return True
        except OSError:
            continue
    return False


def test_without_namespaces_work_stops_unless_the_weak_sandbox_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_bubblewrap", lambda: "/bin/false")
    monkeypatch.delenv(sandbox.ALLOW_WEAK, raising=False)
    sandbox.isolation_works.cache_clear()
    try:
        with pytest.raises(SandboxError, match="needs user namespaces"):
            sandbox.command(["true"])
        monkeypatch.setenv(sandbox.ALLOW_WEAK, "1")
        with pytest.warns(UserWarning, match="THE SANDBOX IS WEAK"):
            assert sandbox.command(["true"]) == ["true"]
    finally:
        sandbox.isolation_works.cache_clear()


LISTS = """
import os, sys
for folder in sys.argv[1:]:
    print(*sorted(os.listdir(folder)))
open(folder + "/written", "w")
"""


def test_the_working_folder_and_the_repository_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """They hold images, test images among them, runs and databases."""
    root = Path(sandbox.__file__).resolve().parent.parent
    monkeypatch.chdir("/var/log")
    argv = sandbox.command([sys.executable, "-c", LISTS, str(root), "/var/log"])
    done = subprocess.run(argv, env=sandbox.environment(), capture_output=True, text=True, check=False)
    repository, working = done.stdout.splitlines()
    assert "llmastool" in repository.split() and not {"assets", "params.yaml", "tests", ".git"} & {*repository.split()}
    assert working == "" and "Read-only file system" in done.stderr


def test_a_working_folder_that_was_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SandboxError, match=r"expected a working folder, found that it was removed"):
        sandbox.command([sys.executable, "-c", ""])


@pytest.mark.parametrize("seen", [True, False])
def test_a_python_that_is_reached_by_a_link_runs(seen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual environment may be a link to a link, the first in a folder that the sandbox hides or shows."""
    (tmp_path / "shown").mkdir()
    (tmp_path / "hidden").mkdir()
    link, further = tmp_path / "shown" / "linked", tmp_path / "hidden" / "linked"
    further.symlink_to(Path(sys.prefix).resolve(), target_is_directory=True)
    link.symlink_to(Path("..") / "hidden" / "linked", target_is_directory=True)
    monkeypatch.setattr(sys, "prefix", str(link))
    program = [str(link / "bin" / "python"), "-c", "import torch; print(torch.__version__)"]
    argv = sandbox.command(program, readable=[tmp_path / "shown"] if seen else [])
    done = subprocess.run(argv, env=sandbox.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout == f"{torch.__version__}\n", done.stderr
