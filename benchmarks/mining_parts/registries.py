"""The registries that are measured: made once by the commands a user would run, watched, and judged."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.machine import ROOT
from benchmarks.mining_parts import figures
from benchmarks.mining_parts.census import Definition, census
from benchmarks.mining_parts.judging import judge
from benchmarks.mining_parts.memory import watch
from benchmarks.mining_parts.sources import EINOPS, OTHERS, THREE, UNTUNED, Place, place
from llmastool.canonical import Json, read_json, write_json
from llmastool.mining.bundle import Bundle, read_bundles

SEED = 0
"""Of whatever is drawn."""

GROUPS = {"three": THREE, "others": OTHERS, "einops": EINOPS, "untuned": UNTUNED}
"""Sources that are registered together. What is mined is blocked while a registry is made, and many need einops."""


@dataclass(frozen=True)
class Setting:
    """Where the benchmark works, and on what."""

    work: Path
    sources: Path
    bare: Path
    include: tuple[str, ...]
    results: Path

    def places(self, group: str) -> list[Place]:
        """Return the sources of a group, fetched, narrowed to what is included."""
        return [place(replace(spec, include=self.include), self.sources) for spec in GROUPS[group]]


@dataclass(frozen=True)
class Built:
    """A registry, and what it took to make it."""

    folder: Path
    bundles: dict[str, Bundle]
    table: list[Json]
    lines: list[Json]
    """What the judge says of each module."""
    figures: Json

    @property
    def registry(self) -> Path:
        """Folder of the registry."""
        return self.folder / "registry"


def built(group: str, setting: Setting) -> Built:
    """Return a group's registry, made and judged where that was not done before."""
    folder = setting.work / group
    figure_file, lines_file = folder / "measured.json", folder / "judged.json"
    places = setting.places(group)
    if not figure_file.exists():
        shutil.rmtree(folder, ignore_errors=True)
        write_json(folder / "request.json", {"sources": [asdict(p.spec) for p in places]})
        argv = [sys.executable, "-m", "benchmarks.mining_parts.build", str(folder / "request.json")]
        first = watch(argv, ROOT)
        own = read_json(folder / "figures.json")
        again = watch(argv, ROOT)
        write_json(figure_file, {**own, "first": asdict(first), "again": asdict(again)})
    bundles = {b.id: b for b in read_bundles(folder / "registry" / "bundles.jsonl")}
    table = figures.rows(folder / "registry")
    if not lines_file.exists():
        items = [_item(row) for row in table]
        blocked = {p.spec.label: sorted(p.packages) for p in places}
        request = {"registry": str(folder / "registry"), "items": items, "blocked": blocked}
        write_json(lines_file, judge("registry", request, [folder / "registry"]))
    return Built(folder, bundles, table, read_json(lines_file), read_json(figure_file))


def _item(row: Json) -> Json:
    """Return what the judge needs of a row; the arguments of a module without a contract where the table names them."""
    return {"module": row["module"], "contracts": row["contracts"], "args": row.get("args"), "seed": SEED}


def funnels(group: str, setting: Setting) -> Json:
    """Return the funnel of each source of a group: the judge's, and what the registry says itself."""
    found = built(group, setting)
    lines = {line["item"]["module"]: line for line in found.lines}
    result = {}
    for where in setting.places(group):
        own = [b for b in found.bundles.values() if b.source.name == where.spec.label]
        counted = definitions(where)
        result[where.spec.label] = figures.funnel(counted, own, lines) | {"version": own[0].source.version}
        registered = next(s for s in found.figures["funnel"] if s["name"] == where.spec.label)
        result[where.spec.label]["by_its_own_word"] = {
            key: registered[key] for key in ("found", "loaded", "built", "forward", "backward", "contract")
        }
    return result


def definitions(where: Place) -> list[Definition]:
    """Return the census of a source, narrowed to what is included."""
    return [d for d in census(where.files) if _included(d.name, where)]


def _included(name: str, where: Place) -> bool:
    module, path = max(((m, p) for m, p in where.files if name.startswith(f"{m}.")), key=lambda found: len(found[0]))
    root = where.importable / module.split(".")[0]
    return where.spec.selects(path.relative_to(root if path.is_relative_to(root) else where.importable).as_posix())
