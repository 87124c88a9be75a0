"""Run a command and watch how much memory it and all its children hold."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_EVERY = 0.5
"""Seconds between two looks."""


@dataclass(frozen=True)
class Watched:
    """What a command took."""

    seconds: float
    """Wall time, from its start to its end."""
    peak_bytes: int
    """The most that all its processes held at once: the sum of their proportional set sizes (PSS), so that a page
    that forked children share counts once."""
    peak_rss_bytes: int
    """The same with resident set sizes, which count a shared page in every process."""


def watch(argv: Sequence[str], cwd: Path) -> Watched:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed.
    """
    started = time.monotonic()
    peak = peak_rss = 0
    with subprocess.Popen(argv, cwd=cwd, stdin=subprocess.DEVNULL) as process:
        while process.poll() is None:
            held = [_held(pid) for pid in _tree(process.pid)]
            peak = max(peak, sum(pss for pss, _ in held))
            peak_rss = max(peak_rss, sum(rss for _, rss in held))
            time.sleep(_EVERY)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)} ended with {process.returncode}")
    return Watched(round(time.monotonic() - started, 2), peak, peak_rss)


def _tree(root: int) -> list[int]:
    """Return a process and all below it; those in namespaces of their own are seen from here too."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _held(pid: int) -> tuple[int, int]:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0, 0
    values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
    return values.get("Pss", 0), values.get("Rss", 0)
