"""Mine and probe a group of sources into a folder, as `llmastool mine` and `llmastool registry build` do.

python -m benchmarks.mining_parts.build REQUEST.json     writes `figures.json` beside it

Each is a process of its own, as those two commands are.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

from llmastool.canonical import Json, read_json, write_json
from llmastool.mining.incremental import mine
from llmastool.mining.sources import SourceSpec


def main() -> None:
    """Do what the request says, from what the folder holds already."""
    request = Path(sys.argv[1])
    if len(sys.argv) > 2:
        write_json(request.parent / f"{sys.argv[2]}.json", STEPS[sys.argv[2]](request.parent))
        return
    figures: Json = {}
    for step in STEPS:
        subprocess.run([sys.executable, "-m", "benchmarks.mining_parts.build", str(request), step], check=True)
        figures |= read_json(request.parent / f"{step}.json")
    write_json(request.parent / "figures.json", figures)


def _mine(folder: Path) -> Json:
    specs = [SourceSpec(**{**s, "include": tuple(s["include"])}) for s in read_json(folder / "request.json")["sources"]]
    started = time.monotonic()
    sources = mine(specs, folder / "mined", folder / "mine-cache")
    return {"mine": {"seconds": time.monotonic() - started, "cpu_seconds": _cpu()}, "sources": sources}


def _probe(folder: Path) -> Json:
    from llmastool.registry.incremental import build
    from llmastool.registry.pool import ProbeConfig

    started = time.monotonic()
    summary = build(folder / "mined", folder / "registry", ProbeConfig(), folder / "probes.jsonl", _say)
    return {"probe": {"seconds": time.monotonic() - started}, "funnel": summary["sources"]}


def _cpu() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    used: list[Json] = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def _say(done: int, total: int) -> None:
    if done % 250 == 0:
        print(f"  {done} of {total} modules probed", flush=True)


STEPS = {"mine": _mine, "probe": _probe}


if __name__ == "__main__":
    main()
