"""NN-RAG (PyPI `nn-rag`, Khalid et al. 2025) on the same sources: what it extracts, what that costs, what of it runs.

It is installed into a folder of its own, never into this environment. It validates a block by executing it, so it runs
in the sandbox.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.mining_parts.figures import STAGES, judged_reasons
from benchmarks.mining_parts.judging import judge, passed
from benchmarks.mining_parts.sources import THREE, Place, place
from llmastool import sandbox
from llmastool.canonical import Json, read_lines

RELEASE = "nn-rag==2.2.4"

_RUNNER = Path(__file__).parent / "mining_parts" / "nnrag_run.py"


def measure(work: Path, sources: Path) -> Json:
    """Extract all blocks that NN-RAG finds in the three sources, and judge each from outside.

    What was extracted before is kept, with its CPU time; delete the folder `nnrag` of `work` to do it again.
    """
    folder = work / "nnrag"
    places = {spec.name: place(spec, sources) for spec in THREE}
    log = _extract(list(places.values()), folder)
    blocks = [line for line in log if "block" in line]
    items = []
    for block in blocks:
        found = [f for part in ("blocks", "generated") if (f := folder / part / f"{block['block']}.py").exists()]
        if found:
            blocked = sorted(places[block["source"]].packages)
            items.append({"source": block["source"], "name": block["block"], "file": str(found[0]), "blocked": blocked})
    lines = judge("blocks", {"items": items}, [folder], seconds=30)
    rows = {}
    for name in places:
        row = {"names": sum(b["source"] == name for b in blocks)}
        row["validated"] = sum(
            b["source"] == name and (folder / "blocks" / f"{b['block']}.py").exists() for b in blocks
        )
        own = [line for line in lines if line["item"]["source"] == name]
        row |= {"files": len(own)}
        rows[name] = row | {stage: sum(passed(line, stage) for line in own) for stage in STAGES}
    total = {key: sum(row[key] for row in rows.values()) for key in next(iter(rows.values()))}
    costs = _costs(log)
    lengths = sorted(len(Path(item["file"]).read_text().splitlines()) for item in items)
    return {
        "release": RELEASE,
        "sources": rows,
        "all": total,
        **costs,
        "cpu_seconds_per_class": costs["cpu_seconds"] / total["names"],
        "cpu_seconds_per_class_without_validation": (costs["cpu_seconds"] - costs["cpu_validation"]) / total["names"],
        "file_lines_median": lengths[len(lengths) // 2],
        "file_lines_p90": lengths[int(0.9 * len(lengths))],
        "not_loaded": judged_reasons([x for x in lines if not passed(x, "loaded")], "load"),
    }


def _costs(log: list[Json]) -> Json:
    """Return CPU seconds; a crash and the new start after it are not counted."""
    index = next(line["cpu"] for line in log if line.get("did") == "index")
    blocks = [line for line in log if "block" in line]
    began = {line["begins"] for line in log if "begins" in line}
    return {
        "cpu_seconds": index + sum(b["cpu"] for b in blocks),
        "cpu_index": index,
        "cpu_validation": sum(b["validation"] for b in blocks),
        "crashes": len(began) - len(blocks),
    }


def _extract(places: Sequence[Place], folder: Path) -> list[Json]:
    """Have all sources extracted: into `blocks` what passed its validation, else into `generated`; return the log."""
    out, library, home = folder / "log.jsonl", folder / "lib", folder / "home"
    if (folder / "done").exists():
        return list(read_lines(out))
    if not library.exists():
        argv = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(library), RELEASE]
        subprocess.run(argv, check=True)
    cache = home / ".cache" / "nn-rag"
    index = {}
    for where in places:
        repository = cache / "repo_cache" / f"local_{where.spec.name}"
        index[f"local/{where.spec.name}"] = {"path": str(repository)}
        if not repository.exists():
            (repository / ".git").mkdir(parents=True)  # that it looks for, and no more
            for package in sorted(where.packages):
                ignore = shutil.ignore_patterns("*.so", "*.pyc", "__pycache__")
                shutil.copytree(where.importable / package, repository / package, ignore=ignore)
    (cache / "cache_index.json").write_text(json.dumps(index))
    generated = library / "ab" / "rag" / "generated_packages"
    argv = [sys.executable, str(_RUNNER), json.dumps({p.spec.name: sorted(p.packages) for p in places}), str(out)]
    environment = sandbox.environment({"HOME": str(home), "PYTHONPATH": str(library)})
    log = folder / "output.txt"
    for _start in range(20):  # a crash costs the block in hand, no more
        with log.open("a") as file:
            command = sandbox.command(argv, writable=[folder], readable=[_RUNNER.parent])
            ended = subprocess.run(command, env=environment, stdout=file, stderr=file, check=False, cwd=folder)
        if ended.returncode == 0:
            break
    else:
        raise RuntimeError(f"NN-RAG does not get to its end: {log.read_text()[-2000:]}")
    shutil.copytree(generated, folder / "generated", dirs_exist_ok=True)
    (folder / "done").touch()
    return list(read_lines(out))
