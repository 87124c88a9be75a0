"""What runs while a command runs, seen from outside: which of the processes of a folder train or probe, and memory."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

Sizes: TypeAlias = list[tuple[float, int]]
"""Memory of a process over time: seconds since the start, and bytes."""

WORKERS = {"training": b"llmastool.training.worker", "probing": b"llmastool.registry.worker"}
"""What the command lines of those processes hold for whose sake all others run."""

STEP = 0.1
"""Seconds between two looks."""


@dataclass
class Watched:
    """What was seen."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Time in which something of a sort ran, and in which nothing of any sort did (`neither`), in seconds."""
    resident: dict[int, Sizes] = field(default_factory=dict)
    """Memory of each process that was asked about."""

    @property
    def total(self) -> float:
        """The whole time, in seconds."""
        return sum(self.seconds.values())


@contextmanager
def watched(processes: tuple[int, ...] = ()) -> Iterator[Watched]:
    """Look at all processes while the block runs. Nothing else may train or probe on the machine meanwhile.

    Args:
        processes: those whose memory is wanted.
    """
    found, over = Watched(), threading.Event()
    thread = threading.Thread(target=_look, args=(found, over, processes), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def _look(found: Watched, over: threading.Event, processes: tuple[int, ...]) -> None:
    start = before = time.monotonic()
    while not over.wait(STEP):
        now = time.monotonic()
        running = _commands()
        sort = next((name for name, mark in WORKERS.items() if any(mark in c for c in running)), "neither")
        found.seconds[sort] = found.seconds.get(sort, 0.0) + now - before
        before = now
        for process in processes:
            if (size := resident(process)) is not None:
                found.resident.setdefault(process, []).append((now - start, size))


def _commands() -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:  # it has ended meanwhile
            continue
    return found


def resident(process: int) -> int | None:
    """Return the memory of a process, in bytes; None where it has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096
    except OSError:
        return None


def growth(sizes: Sizes, after: float) -> int | None:
    """Return by how many bytes memory was larger at the end than after so many seconds; medians of ten looks.

    None where it ended before.
    """
    early = [size for at, size in sizes if at >= after][:10]
    if not early:
        return None
    late = [size for _, size in sizes][-10:]
    return int(statistics.median(late) - statistics.median(early))
