"""Measure training, and write `benchmarks/results/training.json`.

python -m benchmarks.training                        a short form, some minutes
python -m benchmarks.training --whole                all of it, some hours on 2 cores
python -m benchmarks.training --only loops           some of it; the other figures are kept as they are
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

# Before NumPy is loaded: loops are compared on one thread, and searches run side by side, one on each core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import torch

from benchmarks import searches
from benchmarks.machine import ROOT
from benchmarks.parts import add_cifar, add_whole, measure, parser_of
from benchmarks.training_parts import layouts, loops, ranks, rungs, starts
from llmastool.canonical import Json, read_json
from llmastool.params import Params
from llmastool.start import skeleton
from llmastool.start_config import Skeleton
from llmastool.training.data import DataConfig, load, load_meta, prepare
from llmastool.trees.catalog import Catalog
from tests.training.golden import GOLDEN, TOLERANCE, losses

RESULTS = ROOT / "benchmarks" / "results" / "training.json"
PLOT = ROOT / "benchmarks" / "halving.png"

NETWORKS = {
    "small": Skeleton(channels=8, cells=1, stages=3),
    "middle": Skeleton(channels=16, cells=1, stages=3),
    "ResNet of NAS-Bench-201": Skeleton(channels=16, cells=5, stages=3),
}
"""From what a search of minutes begins with to the baseline of the table."""


@dataclass(frozen=True)
class Setting:
    """What the benchmark works on, and how much of it is done."""

    cifar: Path
    work: Path
    whole: bool

    def data(self, images: int) -> Path:
        """Return so many images of CIFAR-10, prepared."""
        folder = self.work / f"cifar10-{images}"
        if not folder.exists():
            prepare(DataConfig(name="cifar10", path=str(self.cifar), limit=images, flip=True), folder, 0)
        return folder

    def race(self, images: int, epochs: int, names: Sequence[str]) -> loops.Race:
        """Return what loops are compared on, by NAS-Bench-201's recipe."""
        folder = self.data(images)
        meta = load_meta(folder)
        return loops.Race(
            trees={name: skeleton(NETWORKS[name], meta["shape"][0], meta["classes"]) for name in names},
            catalog=Catalog.open(None),
            learn=load(folder, "train"),
            validation=load(folder, "validation"),
            meta=meta,
            recipe=replace(Params.load(ROOT / "params.yaml").recipes["nb201-12"], epochs=epochs),
        )

    def loops(self) -> Json:
        torch.set_num_threads(1)
        found: Json = {"threads": 1}
        # The largest one takes a minute for each loop.
        for name, repeats in zip(NETWORKS, (5, 5, 2) if self.whole else (3,), strict=False):
            found |= loops.speed(self.race(4000, 3, [name]), repeats)
        return found

    def layouts(self) -> Json:
        torch.set_num_threads(1)
        return layouts.compare(5 if self.whole else 2)

    def accuracy(self) -> Json:
        torch.set_num_threads(1)
        return loops.accuracy(self.race(10_000, 6 if self.whole else 2, ["small"]), "small", 5 if self.whole else 3)

    def golden(self) -> Json:
        found: Json = {"tolerance": TOLERANCE}
        for name, recipe in Params.load(ROOT / "params.yaml").recipes.items():
            came = losses(recipe)
            off = max(abs(a - b) / b for a, b in zip(came, GOLDEN[name], strict=True))
            found[name] = {"train_loss": came[0], "validation_loss": came[1], "off": off, "holds": off <= TOLERANCE}
        return found

    def overhead(self) -> Json:
        recipe = Params.load(ROOT / "params.yaml").recipes["nb201-12"]
        config = DataConfig(name="cifar10", path=str(self.cifar), limit=10_000, flip=True)
        seconds = starts.SECONDS if self.whole else 30.0
        return starts.overhead(config, recipe, 3 if self.whole else 1, seconds)

    def proxies(self) -> Json:
        return ranks.correlations(searches.cifar10(self.cifar), self.work, 60 if self.whole else 12)

    def halving(self) -> Json:
        seconds = 900.0 if self.whole else 60.0
        return rungs.compare(self.cifar, self.work, 3 if self.whole else 1, seconds)


PARTS: dict[str, Callable[[Setting], Json]] = {
    "loops": Setting.loops,
    "layouts": Setting.layouts,
    "accuracy": Setting.accuracy,
    "golden": Setting.golden,
    "overhead": Setting.overhead,
    "proxies": Setting.proxies,
    "halving": Setting.halving,
}

SHORT_PARTS = ("loops", "layouts", "accuracy", "golden", "overhead")
"""What the short form measures."""


def _headline(results: Json) -> Json:
    """Return the figures that are asked for by name, from the parts that are known."""
    found: Json = {}
    if "loops" in results:
        rows = {name: row["ours_over"] for name, row in results["loops"].items() if name in NETWORKS}
        kinds = ("bare loop", "bare loop, channels last")
        found["cpu_vs_bare_loop"] = {name: {kind: row[kind]["median"] for kind in kinds} for name, row in rows.items()}
        found["cpu_vs_dataloader"] = {name: row["DataLoader"]["median"] for name, row in rows.items()}
    if "golden" in results:
        rows = {name: row for name, row in results["golden"].items() if name in GOLDEN}
        found["golden_loss"] = {
            "holds": all(row["holds"] for row in rows.values()),
            **{n: r["off"] for n, r in rows.items()},
        }
    if "overhead" in results:
        found["overhead_share"] = results["overhead"]["share"]["mean"]
    if "proxies" in results:
        known = {name: row for name, row in results["proxies"].items() if isinstance(row, dict) and "spearman" in row}
        found["proxy_rank_correlation"] = {name: row["spearman"] for name, row in known.items()}
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the parts that are named, those of the short form by default."""
    parser = parser_of(__doc__, "training", PARTS, RESULTS)
    add_whole(parser)
    add_cifar(parser)
    options = parser.parse_args(argv)
    setting = Setting(options.cifar, options.work.resolve(), options.whole)
    names = options.only or (list(PARTS) if options.whole else list(SHORT_PARTS))
    measure(names, PARTS, setting, options.results, _headline)
    results = read_json(options.results)
    if "halving" in results:
        rungs.draw(results["halving"], PLOT if options.results == RESULTS else options.results.parent / PLOT.name)


if __name__ == "__main__":
    main()
