"""Run foreign code piece by piece, each in a child forked from a warm process, under limits of its own."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from llmastool.canonical import Json
from llmastool.sandbox import Limits, enclose, virtual_memory

Tell = Callable[[Json], None]
"""Says something about the piece in hand; what was said before a crash is kept."""

Work = Callable[[Json, Tell], None]

GIB = 1024**3


@dataclass
class Done:
    """What became of one piece."""

    item: Json
    said: list[Json]
    ending: str
    """Empty when it ended by itself, as it should; otherwise how it died."""


@dataclass
class _Child:
    item: Json
    pid: int
    pipe: int
    deadline: float
    data: bytearray = field(default_factory=bytearray)


def run_forked(items: Sequence[Json], work: Work, *, seconds: float, workers: int, gib: float) -> Iterator[Done]:
    """Yield what became of every item, as they are done.

    Args:
        items: JSON values.
        work: called with an item in a child of its own.
        seconds: wall time of one item.
        workers: items at once.
        gib: address space of one item, on top of what the warm process has.
    """
    left = list(reversed(items))
    running: dict[int, _Child] = {}
    while left or running:
        while left and len(running) < workers:
            child = _start(left.pop(), work, seconds, gib)
            running[child.pipe] = child
        patience = max(0.0, min(c.deadline for c in running.values()) - time.monotonic())
        ready, _, _ = select.select(list(running), [], [], patience)
        now = time.monotonic()
        for pipe, child in list(running.items()):
            part = os.read(pipe, 1 << 16) if pipe in ready else b""
            child.data += part
            if (pipe in ready and not part) or now >= child.deadline:
                del running[pipe]
                yield _finish(child, late=now >= child.deadline)


def _start(item: Json, work: Work, seconds: float, gib: float) -> _Child:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _run(item, work, write, seconds, gib)
    os.close(write)
    return _Child(item, pid, read, time.monotonic() + seconds)


def _run(item: Json, work: Work, pipe: int, seconds: float, gib: float) -> None:
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    enclose()
    limits = Limits(memory_bytes=int(gib * GIB) + virtual_memory(), cpu_seconds=int(seconds) + 5, open_files=1024)
    limits.apply()
    code = 1
    try:
        with os.fdopen(pipe, "wb") as file:

            def tell(value: Json) -> None:
                file.write(json.dumps(value).encode() + b"\n")
                file.flush()

            work(item, tell)
        code = 0
    except Exception as error:  # noqa: BLE001 - a fault of the judge itself must not look like one of the module
        os.write(2, repr(error).encode())
    finally:
        os._exit(code)


def _finish(child: _Child, *, late: bool) -> Done:
    os.close(child.pipe)
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(child.pid, signal.SIGKILL)  # it has not come to be the leader of its group yet
    _, status = os.waitpid(child.pid, 0)
    whole = child.data[: child.data.rfind(b"\n") + 1].splitlines()
    ending = "" if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0 else f"status {status}"
    if late:
        ending = "it ran past its time limit"
    elif os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:
        ending = f"died of {signal.Signals(os.WTERMSIG(status)).name}"
    elif os.WIFSIGNALED(status):
        ending = ""  # it had closed its pipe: all was said
    return Done(child.item, [json.loads(line) for line in whole], ending)


def block_imports(names: set[str]) -> None:
    """Keep packages from being imported in this process, and forget those that were."""

    class Blocker:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:  # noqa: ARG004
            if name.split(".")[0] in names:
                raise ModuleNotFoundError(f"No module named {name!r} (blocked by the judge)", name=name)

    sys.meta_path.insert(0, Blocker)
    for name in [n for n in sys.modules if n.split(".")[0] in names]:
        del sys.modules[name]
