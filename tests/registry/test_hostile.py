"""Modules that mean harm, each probed for real beside harmless ones. What came of it is looked for from outside.

The sources lie in `tests/hostile`; beside each class stands how far it may get, and what its record must say.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from llmastool import sandbox
from llmastool.mining.bundle import Bundle
from llmastool.mining.mine import mine_source
from llmastool.mining.sources import SourceSpec
from llmastool.registry.pool import ProbeConfig, run_probes
from llmastool.registry.record import Probe

SOURCES = Path(__file__).parent.parent / "hostile"
TOKEN = f"t{uuid.uuid4().hex[:12]}"
"""Name of whatever the modules leave behind; a process's name has at most 15 characters."""

SECRET_NAME, SECRET = "LLMASTOOL_TEST_SECRET", f"secret-{uuid.uuid4().hex}"
MOST_SECONDS = 240

EXPECTED = {
    f"evil.{path.stem}.{name}": (stages.split("|"), message)
    for path in sorted(SOURCES.glob("*.txt"))
    for name, stages, message in re.findall(
        r"^class (\w+)\(.*\):  # ([a-z|]+)(?:: (.*))?$", path.read_text(), re.MULTILINE
    )
}


class Ears:
    """Listens on TCP, UDP and local sockets, and notes whatever arrives."""

    def __init__(self, local: list[Path], abstract: str) -> None:
        self.heard: list[str] = []
        self.local = local
        self.sockets: list[socket.socket] = []
        self.tcp = self._open(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
        self.udp = self._open(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))
        for address in (*map(str, local), f"\0{abstract}"):
            self._open(socket.AF_UNIX, socket.SOCK_STREAM, address)
        self.threads = [threading.Thread(target=self._listen, args=(one,), daemon=True) for one in self.sockets]
        self.open = True
        for thread in self.threads:
            thread.start()

    def _open(self, family: int, kind: int, address: str | tuple[str, int]) -> socket.socket:
        one = socket.socket(family, kind)
        self.sockets.append(one)
        one.settimeout(0.2)
        one.bind(address)
        if kind == socket.SOCK_STREAM:
            one.listen()
        return one

    def _listen(self, one: socket.socket) -> None:
        while self.open:
            try:
                if one.type == socket.SOCK_DGRAM:
                    self.heard.append(f"{one.recv(99)!r}")
                else:
                    with one.accept()[0] as got:
                        self.heard.append(f"{got!r}")
            except TimeoutError:
                continue

    def close(self) -> None:
        self.open = False
        for thread in self.threads:
            thread.join()
        for one in self.sockets:
            one.close()
        for path in self.local:
            path.unlink()


@dataclass
class Outcome:
    """What the whole probing came to."""

    probes: list[Probe]
    names: dict[str, str]
    """Qualified name by id."""
    seconds: float
    heard: list[str]
    written: list[Path]
    source_before: dict[str, bytes]
    source_after: dict[str, bytes]
    by_name: dict[str, Probe] = field(init=False)

    def __post_init__(self) -> None:
        self.by_name = {self.names[p.module]: p for p in self.probes}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    root = tmp_path_factory.mktemp("hostile")
    secret_file = Path.home() / f".{TOKEN}"
    secret_file.write_text(SECRET)
    ears = Ears([root / "ear", Path("/var/tmp", TOKEN + ".ear")], TOKEN)
    wanted = [
        root,
        Path.home(),
        Path.cwd(),
        Path(sys.prefix),
        *map(Path, ("/tmp", "/var/tmp", "/dev/shm", "/etc", "/")),
    ]
    folders = [folder for folder in wanted if folder.is_dir()]
    source = _source(root, ears, folders, secret_file)
    os.environ[SECRET_NAME] = SECRET
    try:
        bundles = mine_source(SourceSpec(kind="path", path=str(source))).bundles
        before = _contents(source)
        started = time.monotonic()
        probes = _probe(bundles)
        seconds = time.monotonic() - started
        time.sleep(0.5)  # what is still under way may arrive
        written = [path for folder in folders for path in folder.glob(f"{TOKEN}*") if path not in ears.local]
        names = {b.id: b.name for b in bundles}
        yield Outcome(probes, names, seconds, ears.heard, written, before, _contents(source))
        for path in written:
            path.unlink() if path.is_symlink() or path.is_file() else path.rmdir()
    finally:
        ears.close()
        secret_file.unlink()
        del os.environ[SECRET_NAME]


def _source(root: Path, ears: Ears, folders: list[Path], secret_file: Path) -> Path:
    source = root / "evil"
    source.mkdir()
    (source / "__init__.py").touch()
    for path in SOURCES.glob("*.txt"):
        shutil.copy(path, source / f"{path.stem}.py")
    settings = {
        "TOKEN": TOKEN,
        "SECRET_NAME": SECRET_NAME,
        "SECRET_FILE": str(secret_file),
        "SOURCE": str(source),
        "FOLDERS": [str(folder) for folder in folders],
        "TCP": ears.tcp.getsockname()[1],
        "UDP": ears.udp.getsockname()[1],
        "UNIX": [str(path) for path in ears.local],
        "ABSTRACT": f"\0{TOKEN}",
    }
    (source / "settings.py").write_text("".join(f"{name} = {value!r}\n" for name, value in settings.items()))
    return source


def _probe(bundles: tuple[Bundle, ...]) -> list[Probe]:
    config = ProbeConfig(seconds=10, memory_gb=1.0)
    return list(run_probes([b.id for b in bundles], list(bundles), ["evil"], config))


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_module_gets_one_record_and_no_other_appears(outcome: Outcome) -> None:
    assert len(EXPECTED) > 80
    assert sorted(outcome.by_name) == sorted(EXPECTED)
    assert len(outcome.probes) == len(outcome.names) == len(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_record_says_how_far_a_module_came_and_why(outcome: Outcome, name: str) -> None:
    stages, message = EXPECTED[name]
    probe = outcome.by_name[name]
    assert probe.stage in stages, probe.message
    if probe.stage == "ok":
        assert probe.contracts
        return
    assert re.search(message, probe.message, re.IGNORECASE), probe.message
    assert len(probe.message) <= 400
    assert len(probe.message.splitlines()) == 1, probe.message


def test_nothing_was_written(outcome: Outcome) -> None:
    assert not outcome.written
    assert outcome.source_after == outcome.source_before


def test_nothing_was_sent(outcome: Outcome) -> None:
    assert not outcome.heard


def test_no_record_holds_the_secret(outcome: Outcome) -> None:
    assert SECRET not in json.dumps([asdict(probe) for probe in outcome.probes], default=str)


def test_nothing_is_left_running(outcome: Outcome) -> None:
    assert outcome.probes
    deadline = time.monotonic() + 5
    while _left_running() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _left_running()


def _left_running() -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            comm, line = (folder / "comm").read_text().strip(), (folder / "cmdline").read_text()
        except OSError:
            continue
        if comm == TOKEN or TOKEN in line:
            found.append(f"{folder.name}: {comm} {line}")
    return found


def test_it_takes_bounded_time(outcome: Outcome) -> None:
    assert outcome.seconds < MOST_SECONDS


def test_the_ears_hear() -> None:
    ears = Ears([], f"{TOKEN}-other")
    try:
        socket.create_connection(("127.0.0.1", ears.tcp.getsockname()[1]), 1).close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
            mouth.sendto(b"word", ears.udp.getsockname())
        with socket.socket(socket.AF_UNIX) as mouth:
            mouth.connect(f"\0{TOKEN}-other")
        deadline = time.monotonic() + 5
        while len(ears.heard) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(ears.heard) == 3
    finally:
        ears.close()


ENCLOSED = """
import os, signal, sys, time
from llmastool import sandbox

def child(action):
    pid = os.fork()
    if pid == 0:
        os.setsid()
        sandbox.enclose()
        action()
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def attack():
    for pid in (0, -1, *range(2, 200)):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    try:
        os.close(os.open(f"/proc/{server}/mem", os.O_RDWR))
        os._exit(1)
    except OSError:
        pass

def leave():
    open("/tmp/mark", "w").close()
    if os.fork() == 0:
        os.setsid()
        time.sleep(10_000)

server = os.getpid()
ends = [child(attack), child(leave), child(lambda: os._exit(3)), child(lambda: os._exit(os.path.exists("/tmp/mark")))]
ends.append(child(lambda: open(sys.argv[1]).close()))
others = [p for p in os.listdir("/proc") if p.isdigit() and int(p) not in (1, server)]
print(ends, others)
"""


def test_an_enclosed_child_reaches_neither_its_parent_nor_what_others_leave(tmp_path: Path) -> None:
    if not sandbox.isolation_works():
        pytest.skip("this machine allows no namespaces")
    shown = tmp_path / "with a space" / "file"
    shown.parent.mkdir()
    shown.write_text("seen")
    argv = sandbox.command([sys.executable, "-c", ENCLOSED, str(shown)], readable=[shown.parent])
    done = subprocess.run(argv, env=sandbox.environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[7, 7, 3, 0, 7] []", done.stderr


@pytest.mark.parametrize("path", ["/proc/sys/kernel/core_pattern", "/", "/etc/hostname", "/run", "/dev/mem"])
def test_a_sandboxed_process_has_no_way_to_change_the_machine(path: str) -> None:
    if not sandbox.isolation_works():
        pytest.skip("this machine allows no namespaces")
    code = (
        "import ctypes, os, sys\n"
        "ctypes.CDLL(None).mount(b'none', sys.argv[1].encode(), None, 4096 | 32, None)\n"
        "print(open('/proc/self/status').read().split('CapEff:')[1].split()[0])\n"
        "os.close(os.open(sys.argv[1], os.O_WRONLY | (os.O_TMPFILE if os.path.isdir(sys.argv[1]) else 0)))\n"
        "print('opened')\n"
    )
    argv = sandbox.command([sys.executable, "-c", code, path])
    done = subprocess.run(argv, env=sandbox.environment(), capture_output=True, text=True, check=False)
    powers, *rest = done.stdout.split()
    assert int(powers, 16) & ~(1 << 31) == 0, "it holds capabilities besides CAP_SETFCAP"
    assert rest == (["opened"] if path == "/run" else []), "only the empty folder of its own can be written to"
