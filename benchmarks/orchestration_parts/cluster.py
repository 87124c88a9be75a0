"""A search on a local cluster of separate processes, one of which is killed while it trains."""

from __future__ import annotations

import shutil
from pathlib import Path

from llmastool.canonical import Json
from tests.pipelines.workspace import finish, lay_out, load, lose_a_worker, starts, told


def killed(folder: Path, kind: str) -> Json:
    """Run the search in threads, then on a cluster whose worker is killed, and compare."""
    shutil.rmtree(folder, ignore_errors=True)
    fingerprints = []
    for name, more in (("threads", ""), (kind, f"runner: {{kind: {kind}, cache: {folder / 'elsewhere'}}}\n")):
        lay_out(folder / name, more)
        for stage in ("prepare", "mine"):
            finish(folder / name, stage)
        if name == "threads":
            finish(folder / name, "registry")
            finish(folder / name, "search")
        else:
            # How much of a contract is tried out depends on the time that there is: the searches have one registry.
            shutil.copytree(folder / "threads" / "artifacts/registry", folder / name / "artifacts/registry")
            lose_a_worker(folder / name, kind, folder / "elsewhere")
        fingerprints.append(load(folder / name / "artifacts/search/archive.json")["fingerprint"])
    counts, begun = told(folder / kind), starts(folder / kind)
    again = sum(begun.values()) - len(begun)
    equal = fingerprints[0] == fingerprints[1]
    return {
        "kind": kind,
        "candidates": len(counts),
        "started_again": again,
        "equal_archives": equal,
        # One was killed while it trained one.
        "ok": equal and again <= 1 and set(counts.values()) == {1},
    }
