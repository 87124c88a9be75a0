"""Measure mining and the registry, beside NN-RAG and beside a plain import, and write `benchmarks/results/mining.json`.

    python -m benchmarks.mining                       all of it, some hours on 2 cores
    python -m benchmarks.mining --only three nnrag    some of it; the other figures are kept as they are
    python -m benchmarks.mining --fresh               mine, probe and extract anew what the work folder holds already

Every module is judged from outside, in a process of its own, with the package that it came from blocked from import
(`benchmarks.judge`). What is defined is counted by a census of its own, which shares no code with the miner.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import nnrag
from benchmarks.machine import ROOT
from benchmarks.mining_parts import alone, figures
from benchmarks.mining_parts.judging import judge, passed
from benchmarks.mining_parts.memory import Watched
from benchmarks.mining_parts.registries import GROUPS, SEED, Setting, built, definitions, funnels
from benchmarks.parts import measure, parser_of
from llmastool.canonical import Json
from llmastool.mining.bundle import Bundle

RESULTS = ROOT / "benchmarks" / "results" / "mining.json"
DRAWN = 20


def _all(counted: Json) -> Json:
    keys = [key for key, value in next(iter(counted.values())).items() if isinstance(value, int)]
    return {key: sum(row[key] for row in counted.values()) for key in keys}


def three(setting: Setting) -> Json:
    """The funnel of the three sources, what it cost, and how often contracts hold."""
    found = built("three", setting)
    counted = funnels("three", setting)
    first, again = Watched(**found.figures["first"]), Watched(**found.figures["again"])
    lines = figures.slice_lines(list(found.bundles.values()))
    mine = found.figures["mine"]
    return {
        "sources": counted,
        "all": _all(counted),
        "contract_unseen": figures.unseen(found.lines),
        "contract_unseen_hold": figures.unseen(found.lines)["share"],
        "cpu_seconds_per_class": mine["cpu_seconds"] / len(found.bundles),
        "mine_seconds": mine["seconds"],
        "probe_seconds": found.figures["probe"]["seconds"],
        "wall_seconds": first.seconds,
        "peak_rss_bytes": first.peak_bytes,
        "peak_says": "sum of proportional set sizes over all processes at once, looked at twice a second",
        "peak_of_summed_rss_bytes": first.peak_rss_bytes,
        "rerun_seconds": again.seconds,
        "slice_lines_median": lines["median"],
        "slice_lines_p90": lines["p90"],
        "slice_lines_most": lines["most"],
        "reasons": figures.reasons(found.table),
        "not_loaded": figures.judged_reasons([x for x in found.lines if not passed(x, "loaded")], "load"),
    }


def twelve(setting: Setting) -> Json:
    """The funnels of all twelve sources, and how many distinct modules they give."""
    groups = ("three", "others", "einops")
    counted: Json = {}
    bundles: dict[str, Bundle] = {}
    lines: list[Json] = []
    for group in groups:
        found = built(group, setting)
        counted |= funnels(group, setting)
        bundles |= found.bundles
        lines += found.lines
    working = figures.working(lines)
    return {
        "sources": counted,
        "all": _all(counted),
        "contract_unseen": figures.unseen(lines),
        "modules_with_contracts": len(working),
        "distinct_modules": figures.distinct(bundles, working),
        "distinct_says": "different structures: names that a slice defines, annotations, documentation and imports "
        "from the source itself left out",
        "wall_seconds": sum(built(g, setting).figures["first"]["seconds"] for g in groups),
    }


def untuned(setting: Setting) -> Json:
    """Three sources that nobody looked at: counts, and nothing else."""
    counted = funnels("untuned", setting)
    share = figures.unseen(built("untuned", setting).lines)
    return {"sources": counted, "all": _all(counted), "contract_unseen": share}


def fidelity(setting: Setting) -> Json:
    """Slices against their originals, with the same weights and seed: outputs equal to the last bit, or not."""
    result = {}
    for group in ("three", "others", "einops"):
        found = built(group, setting)
        items = [{"module": r["module"], "contract": r["contracts"][0]} for r in found.table if r["contracts"]]
        places = setting.places(group)
        paths = [str(p.importable) for p in places]
        warm = sorted({name for p in places for name in p.packages})
        request = {"registry": str(found.registry), "items": items, "paths": paths, "warm": warm}
        lines = judge("fidelity", request, [found.registry, *map(Path, paths)])
        result[group] = _fidelity(lines)
    return {**_all(result), "groups": result, "fidelity_equal": _all(result)["equal"]} | {
        "fidelity_checked": _all(result)["checked"]
    }


def _fidelity(lines: Sequence[Json]) -> Json:
    def has(line: Json, key: str) -> bool:
        return any(key in said for said in line["said"])

    equal = [line for line in lines if has(line, "equal")]
    differs = [line for line in lines if has(line, "differs") or not line["said"]]
    why = [next((s["unchecked"] for s in line["said"] if "unchecked" in s), "") for line in lines]
    return {
        "checked": len(equal) + len(differs),
        "equal": len(equal),
        "original_not_run": len(lines) - len(equal) - len(differs),
        "differing": [[line["item"]["module"], line["said"], line["ending"]] for line in differs],
        "why_not_run": sorted({w.partition(":")[0] for w in why if w}),
    }


def plain(setting: Setting) -> Json:
    """The classes of the three sources imported from their packages, with the simplest guess at arguments."""
    items, places = [], setting.places("three")
    for where in places:
        for definition in definitions(where):
            if definition.has_forward:
                module = max((m for m, _ in where.files if definition.name.startswith(f"{m}.")), key=len)
                path = definition.name[len(module) + 1 :]
                items.append({"source": where.spec.label, "module": module, "path": path})
    paths = [str(p.importable) for p in places]
    warm = sorted({name for p in places for name in p.packages})
    lines = judge("plain", {"items": items, "paths": paths, "warm": warm}, [Path(p) for p in paths], seconds=30)
    result = {}
    for where in places:
        own = [line for line in lines if line["item"]["source"] == where.spec.label]
        result[where.spec.label] = {"defined": len(own)} | {
            stage: sum(passed(line, stage) for line in own) for stage in figures.STAGES
        }
    return {"sources": result, "all": _all(result)}


def peer(setting: Setting) -> Json:
    """NN-RAG on the three sources, and its cost beside ours."""
    result = nnrag.measure(setting.work, setting.sources)
    ours = three(setting)["cpu_seconds_per_class"]
    ratio = result["cpu_seconds_per_class"] / ours
    extraction = result["cpu_seconds_per_class_without_validation"] / ours
    return {**result, "times_our_cpu": ratio, "times_our_cpu_without_validation": extraction}


def drawn(setting: Setting) -> Json:
    """Twenty modules drawn at random from the registries of all sources, each exported and run alone."""
    rows = []
    for group in ("three", "others", "einops"):
        if group == "three" or (setting.work / group / "judged.json").exists():
            found = built(group, setting)
            rows += [(r["module"], group, r["contracts"][0]) for r in found.table if r["contracts"]]
    chosen = random.Random(SEED).sample(sorted(rows, key=lambda row: row[0]), min(DRAWN, len(rows)))
    modules: list[Json] = []
    for group in dict.fromkeys(group for _, group, _ in chosen):
        items = [{"module": m, "contract": c} for m, g, c in chosen if g == group]
        modules += alone.run_alone(setting.work / group / "registry", items, setting.work, setting.bare)
    return {
        "seed": SEED,
        "of": len(rows),
        "runs": sum(m["runs"] for m in modules),
        "equal_to_the_last_bit": sum(m["equal"] for m in modules),
        "modules": modules,
    }


PARTS: dict[str, Callable[[Setting], Json]] = {
    "three": three,
    "nnrag": peer,
    "plain": plain,
    "twelve": twelve,
    "fidelity": fidelity,
    "drawn": drawn,
    "untuned": untuned,
}


def main() -> None:
    """Measure the parts that are named, all by default, and keep each as soon as it is known."""
    parser = parser_of(__doc__, "mining", PARTS, RESULTS)
    parser.add_argument("--fresh", action="store_true", help="do again what the work folder holds already")
    parser.add_argument(
        "--sources-folder", type=Path, help="folder of the fetched sources; in the work folder if not named"
    )
    parser.add_argument("--bare", type=Path, help="environment with torch and torchvision only; made if not there")
    parser.add_argument("--include", nargs="+", default=["*"], help="globs of files, to try the benchmark on a part")
    options = parser.parse_args()
    folder = options.work.resolve()
    sources = (options.sources_folder or folder / "sources").resolve()
    bare = (options.bare or folder / "bare").resolve()
    setting = Setting(folder, sources, bare, tuple(options.include), options.results)
    if options.fresh:
        for name in (*GROUPS, "nnrag"):
            shutil.rmtree(folder / name, ignore_errors=True)
    measure(options.only or list(PARTS), PARTS, setting, options.results, _headline)


_HEADLINE = {
    "three": (
        "contract_unseen_hold",
        "cpu_seconds_per_class",
        "wall_seconds",
        "peak_rss_bytes",
        "rerun_seconds",
        "slice_lines_median",
        "slice_lines_p90",
        "reasons",
    ),
    "twelve": ("distinct_modules",),
    "fidelity": ("fidelity_equal", "fidelity_checked"),
}
"""Figures that stand at the top of the results too."""


def _headline(results: Json) -> Json:
    """Return the figures that are asked for by name, from the parts that are known."""
    found = {key: results[part][key] for part, keys in _HEADLINE.items() if part in results for key in keys}
    if "nnrag" in results:
        found["nnrag_cpu_seconds_per_class"] = results["nnrag"]["cpu_seconds_per_class"]
    sources: dict[str, Json] = {}
    for part in ("three", "twelve", "untuned"):
        sources |= results.get(part, {}).get("sources", {})
    return {**found, "sources": sources}


if __name__ == "__main__":
    main()
