"""Measure what it costs to orchestrate, and what survives; write `benchmarks/results/orchestration.json`.

python -m benchmarks.orchestration                    a short form, some minutes
python -m benchmarks.orchestration --whole            all of it, some two hours on 2 cores
python -m benchmarks.orchestration --only killed      some of it; the other figures are kept as they are
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import ROOT
from benchmarks.orchestration_parts import cluster, kills, many
from benchmarks.orchestration_parts.watch import watched
from benchmarks.parts import add_whole, measure, parser_of
from llmastool.canonical import Json, read_json

RESULTS = ROOT / "benchmarks" / "results" / "orchestration.json"


@dataclass(frozen=True)
class Setting:
    """Where the benchmark works, and how much of it is done."""

    work: Path
    whole: bool

    def demo(self) -> Json:
        """The demo in a fresh clone, the environment set up; nothing else may train or probe meanwhile."""
        clone = self.work / "demo"
        shutil.rmtree(clone, ignore_errors=True)
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        environment = {**os.environ, "PYTHONPATH": str(clone), "CI": "true"}
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
        with watched() as seen, (self.work / "demo.log").open("wb") as log:
            argv = [sys.executable, "-m", "pipelines.demo"]
            subprocess.run(argv, cwd=clone, env=environment, stdout=log, stderr=log, check=True)
        candidates = len(read_json(clone / "artifacts/search/archive.json")["entries"])
        neither = seen.seconds.get("neither", 0.0)
        return {
            "seconds": seen.total,
            "seconds_by_what_ran": seen.seconds,
            "candidates": candidates,
            "overhead_seconds_per_candidate": neither / candidates,
            "overhead_share": neither / seen.total,
        }

    def many(self) -> Json:
        return many.candidates(self.work / f"many-{self.whole}", 500 if self.whole else 34)

    def ahead(self) -> Json:
        return many.ahead(self.work / "ahead", 8 if self.whole else 3)

    def plain(self) -> Json:
        return many.plain(self.work / "plain")

    def killed(self) -> Json:
        return kills.survived(self.work / "kills", 50 if self.whole else 5)

    def dask(self) -> Json:
        return cluster.killed(self.work / "dask", "dask")

    def ray(self) -> Json:
        return cluster.killed(self.work / "ray", "ray")


PARTS: dict[str, Callable[[Setting], Json]] = {
    "demo": Setting.demo,
    "many": Setting.many,
    "ahead": Setting.ahead,
    "plain": Setting.plain,
    "killed": Setting.killed,
    "dask": Setting.dask,
    "ray": Setting.ray,
}

SHORT_PARTS = ("many", "plain", "killed", "dask")
"""What the short form measures."""


def _headline(results: Json) -> Json:
    """Return the figures that are asked for by name, from the parts that are known."""
    found: Json = {}
    if "demo" in results:
        found |= {name: results["demo"][name] for name in ("overhead_seconds_per_candidate", "overhead_share")}
    if "many" in results:
        found["main_rss_growth_bytes"] = results["many"]["main_rss_growth_bytes"]
        for page in ("mlflow_page_seconds", "report_page_seconds"):
            if page in results["many"]:
                found[page] = results["many"][page]["most"]
    if "killed" in results:
        row = results["killed"]
        found |= {"kills": row["kills"], "kills_lost": row["lost"], "kills_duplicated": row["twice"]}
    for kind in ("dask", "ray"):
        if kind in results:
            found[f"{kind}_worker_killed_ok"] = results[kind]["ok"]
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the parts that are named, those of the short form by default."""
    parser = parser_of(__doc__, "orchestration", PARTS, RESULTS)
    add_whole(parser)
    options = parser.parse_args(argv)
    options.work.mkdir(parents=True, exist_ok=True)
    names = options.only or (list(PARTS) if options.whole else list(SHORT_PARTS))
    measure(names, PARTS, Setting(options.work.resolve(), options.whole), options.results, _headline)


if __name__ == "__main__":
    main()
