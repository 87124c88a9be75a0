"""Measure the planner, and write `benchmarks/results/planner.json` and the plots in `benchmarks/nb201/`.

    python -m benchmarks.planner                        a short form, under ten minutes on 2 cores
    python -m benchmarks.planner --whole                all of it, about two hours
    python -m benchmarks.planner --only ours peers      some of it; the other figures are kept as they are

It needs NAS-Bench-201's accuracies (`--table`), as a table with the columns `arch`, `cifar10` and `cifar100`.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

# Before NumPy is loaded: searches run side by side, one on each core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from benchmarks import searches
from benchmarks.machine import ROOT
from benchmarks.nb201.plots import draw
from benchmarks.nb201.space import load
from benchmarks.parts import add_cifar, add_whole, measure, parser_of
from benchmarks.planner_parts import model, tables
from benchmarks.planner_parts.tables import SHORT, WHOLE, Bench
from llmastool.canonical import Json, read_json

RESULTS = ROOT / "benchmarks" / "results" / "planner.json"
PLOTS = ROOT / "benchmarks" / "nb201"
TABLE = ROOT.parent / "shared" / "data" / "nb201" / "accuracy.parquet"


@dataclass(frozen=True)
class Setting:
    """What the benchmark works on, and how much of it is done."""

    table: Path
    cifar: Path
    work: Path
    whole: bool

    @cached_property
    def bench(self) -> Bench:
        """The searches on the table."""
        return Bench(load(self.table, self.work / "nb201"), self.table, WHOLE if self.whole else SHORT)

    def updates(self) -> Json:
        return model.updates(self.bench.space, self.table, 5 if self.whole else 2)

    def coverage(self) -> Json:
        return model.coverage(self.bench.space, self.table, 20 if self.whole else 6)

    def digits(self) -> Json:
        return searches.compare(searches.DIGITS, self.work / "real", 6 if self.whole else 2, searches.STRATEGIES)

    def cifar10(self) -> Json:
        return searches.compare(
            searches.cifar10(self.cifar), self.work / "real", 6 if self.whole else 2, searches.STRATEGIES
        )

    def calibration(self) -> Json:
        return model.calibration(self.bench.space, 200 if self.whole else 40)


def _tables(part: Callable[[Bench], Json]) -> Callable[[Setting], Json]:
    return lambda setting: {"form": setting.bench.form.name, **part(setting.bench)}


PARTS: dict[str, Callable[[Setting], Json]] = {
    "ours": _tables(partial(tables.ours, noise=0.3, data=["cifar100"])),
    "peers": _tables(partial(tables.peers, noise=0.3, data=["cifar100"])),
    "ours cifar10": _tables(partial(tables.ours, noise=0.3, data=["cifar10"])),
    "peers cifar10": _tables(partial(tables.peers, noise=0.3, data=["cifar10"])),
    "ours at 0.2": _tables(partial(tables.ours, noise=0.2, data=["cifar100", "cifar10"])),
    "peers at 0.2": _tables(partial(tables.peers, noise=0.2, data=["cifar100", "cifar10"])),
    "batches": _tables(tables.batches),
    "ablations": _tables(tables.ablations),
    "variations": _tables(tables.variations),
    "price told": _tables(tables.price_told),
    "nuts": _tables(tables.nuts),
    "updates": Setting.updates,
    "coverage": Setting.coverage,
    "calibration": Setting.calibration,
    "digits": Setting.digits,
    "cifar10 subset": Setting.cifar10,
}

SHORT_PARTS = ("ours", "peers", "batches", "ablations", "updates", "coverage", "calibration")
"""What the short form measures."""


def _headline(results: Json) -> Json:
    """Return the figures that are asked for by name, from the parts that are known."""
    found: Json = {}
    if tables.searched(results):
        found |= _from_tables(results)
    if "batches" in results:
        ratios = {
            name: row["ratio"] for name, row in results["batches"].items() if isinstance(row, dict) and "ratio" in row
        }
        found["batch_ratio"] = ratios
        found["batch_ratio_max"] = max((ratio for ratio in ratios.values() if ratio), default=None)
    if "updates" in results:
        row = results["updates"]["300"]
        found |= {
            "update_seconds_300": row["seconds_mean"],
            "rhat_max": row["rhat_max"],
            "divergences": row["divergences"],
        }
    if "coverage" in results:
        rows = [row for name, row in results["coverage"].items() if name.startswith("cifar")]
        found["interval_coverage"] = statistics.fmean(row["90%"] for row in rows)
    if "calibration" in results:
        found["calibration_passes"] = results["calibration"]["passes"]
    return found


def _from_tables(results: Json) -> Json:
    methods = tables.searched(results)
    return {
        "regret_table": {
            name: {method: row["regret"] for method, row in rows.items()} for name, rows in methods.items()
        },
        "evaluations_to_half_point": {
            name: {method: row["evaluations_to_half_point"] for method, row in rows.items()}
            for name, rows in methods.items()
        },
        "verdict": tables.verdict(results),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the parts that are named, those of the short form by default."""
    parser = parser_of(__doc__, "planner", PARTS, RESULTS)
    add_whole(parser)
    add_cifar(parser)
    parser.add_argument("--table", type=Path, default=TABLE, help="NAS-Bench-201's accuracies, parquet (%(default)s)")
    options = parser.parse_args(argv)
    setting = Setting(options.table, options.cifar, options.work.resolve(), options.whole)
    names = options.only or (list(PARTS) if options.whole else list(SHORT_PARTS))
    measure(names, PARTS, setting, options.results, _headline)
    draw(read_json(options.results), PLOTS if options.results == RESULTS else options.results.parent)


if __name__ == "__main__":
    main()
