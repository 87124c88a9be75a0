"""Mine and probe a group of sources into a folder, as `llmastool mine` and `llmastool registry build` do.

python -m benchmarks.mining_parts.build REQUEST.json     writes `figures.json` beside it
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

from llmastool.canonical import Json, read_json, write_json
from llmastool.mining.incremental import mine
from llmastool.mining.sources import SourceSpec


def main() -> None:
    """Do what the request says, from what the folder holds already."""
    request = Path(sys.argv[1])
    folder = request.parent
    specs = [SourceSpec(**{**s, "include": tuple(s["include"])}) for s in read_json(request)["sources"]]
    started = time.monotonic()
    sources = mine(specs, folder / "mined", folder / "mine-cache")
    figures = {"mine": {"seconds": time.monotonic() - started, "cpu_seconds": _cpu()}}
    started = time.monotonic()
    from llmastool.registry.incremental import build
    from llmastool.registry.pool import ProbeConfig

    summary = build(folder / "mined", folder / "registry", ProbeConfig(), folder / "probes.jsonl", _say)
    figures["probe"] = {"seconds": time.monotonic() - started}
    write_json(folder / "figures.json", {**figures, "sources": sources, "funnel": summary["sources"]})


def _cpu() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    used: list[Json] = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def _say(done: int, total: int) -> None:
    if done % 250 == 0:
        print(f"  {done} of {total} modules probed", flush=True)


if __name__ == "__main__":
    main()
