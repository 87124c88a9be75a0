"""Measure reading in, edits, their speed and export, and write `benchmarks/results/trees.json`.

    python -m benchmarks.trees                       all of it, about two hours on 2 cores
    python -m benchmarks.trees --only chains speed   some of it; the other figures are kept as they are

It works on the registry of timm, torchvision and vit-pytorch that `benchmarks.mining` makes, and makes it if it is not
there. All that runs mined code runs in the sandbox (`benchmarks.judge`).
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import ROOT
from benchmarks.mining_parts.alone import run_files
from benchmarks.mining_parts.judging import judge, passed, reason
from benchmarks.mining_parts.registries import SEED, Setting, built
from benchmarks.parts import measure, parser_of
from benchmarks.tree_parts.read_in import networks
from llmastool.canonical import Json, read_json, write_json
from llmastool.start import skeleton
from llmastool.start_config import Skeleton

RESULTS = ROOT / "benchmarks" / "results" / "trees.json"
IN_SHAPE, CLASSES = (4, 3, 32, 32), 10
BUDGET = {"parameters": 5_000_000, "flops": 300_000_000}
MOST_SLOTS = 250
"""Slots of a network that starts or goes on in a chain."""
LENGTH = 30
"""Edits of a chain."""
_SIZES = ((8, 1, 3), (16, 1, 3), (8, 2, 3), (12, 3, 2), (24, 1, 2), (32, 1, 2))
SKELETONS = [Skeleton(channels=c, cells=n, stages=s) for c, n, s in _SIZES]
NEAR = 60
"""Slots of a network whose edits are timed, about."""


@dataclass(frozen=True)
class Trees:
    """Where the benchmark works, and on how much."""

    mining: Setting
    edits: int
    exports: int

    @property
    def registry(self) -> Path:
        """Folder of the registry."""
        return built("three", self.mining).registry

    @property
    def originals(self) -> Json:
        """What a judge needs that makes networks of the packages themselves."""
        paths = [str(p.importable) for p in self.mining.places("three")]
        return {"bundles": str(self.registry / "bundles.jsonl"), "paths": paths}

    @property
    def readable(self) -> list[Path]:
        """Folders that a judge of originals must see."""
        return [self.registry, *map(Path, self.originals["paths"])]

    def kept(self, name: str) -> Path:
        """Return a file of the work folder."""
        return self.mining.work / "trees" / f"{name}.json"


def read_in(trees: Trees) -> Json:
    """All of torchvision's classification networks, and the smallest of each of timm's families."""
    sys.path[:0] = trees.originals["paths"]
    items = [
        {"package": "torchvision", "family": f, "names": [n]}
        for f, names in networks("torchvision").items()
        for n in names
    ]
    items += [{"package": "timm", "family": f, "names": names} for f, names in networks("timm").items()]
    request = {**trees.originals, "items": items}
    lines = judge("read_in", request, trees.readable, seconds=300, gib=9)
    write_json(trees.kept("read_in"), lines)
    by_package: Json = {}
    for line in lines:
        row = by_package.setdefault(line["item"]["package"], {"total": 0, "equal": 0, "fell": []})
        row["total"] += 1
        if passed(line, "equal"):
            row["equal"] += 1
        else:
            why = reason(line, "equal") if passed(line, "read") else reason(line, "read")
            row["fell"].append({"network": _name(line), "family": line["item"]["family"], "why": why})
    return {
        "packages": by_package,
        "says": "torchvision: each network; timm: the smallest of each family; eval mode, images of the default size",
    }


def _name(line: Json) -> str:
    return str(next((said["network"] for said in line["said"] if "network" in said), line["item"]["names"][0]))


def starts(trees: Trees) -> list[Json]:
    """Return trees to start from: skeletons, and the small networks of both packages that run on small images."""
    lines = read_json(trees.kept("read_in"))
    items = [
        {"package": line["item"]["package"], "name": _name(line)}
        for line in lines
        if passed(line, "equal") and next(s["parameters"] for s in line["said"] if "network" in s) < 10_000_000
    ]
    request = {**trees.originals, **_limits(), "items": items}
    found = [s["tree"] for line in judge("starts", request, trees.readable) for s in line["said"] if "tree" in s]
    return [skeleton(s, IN_SHAPE[1], CLASSES).to_json() for s in SKELETONS] + found


def _limits() -> Json:
    return {"in_shape": IN_SHAPE, "classes": CLASSES, "budget": BUDGET, "slots": MOST_SLOTS}


def edits(trees: Trees) -> Json:
    """Chains of random edits from many starts; every child is built, run, and trained for a step."""
    begin = starts(trees)
    write_json(trees.kept("starts"), begin)
    chains = -(-trees.edits // LENGTH)
    each = -(-chains // len(begin))
    items = [{"start": i, "seed": SEED + i, "chains": each} for i in range(len(begin))]
    request = {**_limits(), "registry": str(trees.registry), "starts": begin, "length": LENGTH, "items": items}
    lines = judge("chains", request, [trees.registry], seconds=3600, gib=8)
    write_json(trees.kept("chains"), lines)
    said = [s for line in lines for s in line["said"]]
    counts, kinds, refused = Counter[str](), Counter[str](), Counter[str]()
    faults: list[str] = []
    for one in (s for s in said if "counts" in s):
        counts.update(one["counts"])
        kinds.update(one["kinds"])
        refused.update(one["refused"])
        faults += one["faults"]
    shown = [s for s in said if "shown" in s]
    return {
        "starts": len(begin),
        "chains": each * len(begin),
        "ended_early": [str(line["ending"]) for line in lines if line["ending"]],
        "registered_modules": sum(1 for row in built("three", trees.mining).table if row["contracts"]),
        **{key: counts[key] for key in sorted(counts)},
        "edit_exceptions": counts["edit_exceptions"],
        "kinds": {k: {x: kinds[f"{k} {x}"] for x in ("edits", "held")} for k in sorted({n.split()[0] for n in kinds})},
        "refused": dict(refused.most_common(60)),
        "faults": faults[:40],
        "diffs": sorted(shown, key=lambda s: len(s["shown"]))[len(shown) // 2 :][:3],
    }


def speed(trees: Trees) -> Json:
    """Edits a second on one core, on the networks that have about 60 slots; hashing and distances."""
    begin = read_json(trees.kept("starts"))
    items = [{"tree": tree} for tree in begin]
    request = {**_limits(), "registry": str(trees.registry), "edits": 0, "items": items}
    lines = judge("speed", request, [trees.registry])
    sized = [(abs(_said(line, "slots") - NEAR), i) for i, line in enumerate(lines) if _said(line, "slots")]
    rows = []
    for _, index in sorted(sized)[:3]:  # one after the other, so that they do not share the cores
        line = judge("speed", {**request, "edits": 400, "items": [items[index]]}, [trees.registry], seconds=300)[0]
        rows.append({key: value for said in line["said"] for key, value in said.items()})
    return {"networks": rows, **{f"mean_{key}": sum(row[key] for row in rows) / len(rows) for key in _SPEEDS}}


_SPEEDS = ("edits_per_second", "passed_per_second", "hash_ms", "distance_ms")


def _said(line: Json, key: str) -> int:
    return int(next((said[key] for said in line["said"] if key in said), 0))


def exports(trees: Trees) -> Json:
    """Evolved trees, each written to a file, run by itself, and compared to the last bit."""
    found = [s["tree"] for line in read_json(trees.kept("chains")) for s in line["said"] if "tree" in s]
    chosen = random.Random(SEED).sample(found, min(trees.exports, len(found)))
    request = {"registry": str(trees.registry), "in_shape": IN_SHAPE, "items": [{"tree": t} for t in chosen]}
    lines = judge("evolved", request, [trees.registry])
    names = [f"tree_{i:03}" for i in range(len(lines))]
    rows = run_files(lines, names, trees.mining.work / "trees" / "exported", trees.mining.bare)
    return {
        "of": len(found),
        "total": len(rows),
        "runs": sum(row["runs"] for row in rows),
        "equal": sum(row["equal"] for row in rows),
        "fell": [row for row in rows if not row["equal"]],
    }


PARTS: dict[str, Callable[[Trees], Json]] = {"reading": read_in, "chains": edits, "speed": speed, "export": exports}


def _headline(results: Json) -> Json:
    """Return the figures that are asked for by name, from the parts that are known."""
    found: Json = {}
    if "reading" in results:
        rows = results["reading"]["packages"].values()
        found |= {f"read_in_{key}": sum(row[key] for row in rows) for key in ("total", "equal")}
    if "chains" in results:
        row = results["chains"]
        keys = ("edits", "edit_exceptions", "held", "held_and_ran", "gated", "gated_and_trained")
        found |= {key: row[key] for key in keys}
        found["plans_with_edit_share"] = row["plans_with_edit"] / row["plans"]
    if "speed" in results:
        found |= {key: results["speed"][f"mean_{key}"] for key in ("edits_per_second", "hash_ms", "distance_ms")}
    if "export" in results:
        found |= {"exports": results["export"]["total"], "exports_equal": results["export"]["equal"]}
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the parts that are named, all by default."""
    parser = parser_of(__doc__, "mining", PARTS, RESULTS)
    parser.add_argument("--edits", type=int, default=10_000, help="how many random edits (%(default)s)")
    parser.add_argument("--exports", type=int, default=200, help="how many exported trees (%(default)s)")
    options = parser.parse_args(argv)
    folder = options.work.resolve()
    setting = Setting(folder, folder / "sources", folder / "bare", ("*",), options.results)
    measure(
        options.only or list(PARTS), PARTS, Trees(setting, options.edits, options.exports), options.results, _headline
    )


if __name__ == "__main__":
    main()
