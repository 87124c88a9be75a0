"""Measure training on a GPU, and write `benchmarks/results/gpu.json`.

python -m benchmarks.gpu --cifar FOLDER                   all of it, about a quarter of an hour
python -m benchmarks.gpu --only speed --cifar FOLDER      some of it; the other figures are kept as they are
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.gpu import protocol, sharing, speed
from benchmarks.machine import ROOT
from benchmarks.parts import add_cifar, measure, parser_of
from llmastool.canonical import Json
from llmastool.params import Params
from llmastool.training.data import DataConfig, prepare
from llmastool.training.recipe import Recipe

RESULTS = ROOT / "benchmarks" / "results" / "gpu.json"


@dataclass(frozen=True)
class Setting:
    """What the benchmark works on, and how much of it is done."""

    cifar: Path
    work: Path
    device: torch.device
    short: bool

    @property
    def data(self) -> Path:
        """CIFAR-10, prepared: half of the training images to validate on, as in NAS-Bench-201."""
        folder = self.work / "cifar10"
        if not folder.exists():
            limit = 1200 if self.short else None
            prepare(DataConfig(name="cifar10", path=str(self.cifar), validation=25 / 60, limit=limit), folder, 0)
        return folder

    def recipe(self, name: str) -> Recipe:
        """Return a recipe of `params.yaml`."""
        return Params.load(ROOT / "params.yaml").recipes[name]

    def speed(self) -> Json:
        return speed.beside(self.data, self.recipe("nb201-12"), self.device, 1 if self.short else 3)

    def protocol(self) -> Json:
        return protocol.resnet(self.data, self.recipe("quick" if self.short else "nb201-12"), self.device)

    def sharing(self) -> Json:
        workers = (1, 2) if self.short else (1, 2, 4, 8)
        return sharing.rates(self.data, self.recipe("quick"), self.device.type, self.work, workers)


PARTS: dict[str, Callable[[Setting], Json]] = {
    "speed": Setting.speed,
    "protocol": Setting.protocol,
    "sharing": Setting.sharing,
}


def _headline(results: Json) -> Json:
    """Return the figures that stand at the top of the file."""
    return {"device": next((row["device"] for row in results.values() if isinstance(row, dict)), None)}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the parts that are named, all by default."""
    parser = parser_of(__doc__, "gpu", PARTS, RESULTS)
    add_cifar(parser)
    parser.add_argument(
        "--device", default="cuda", help="what to measure on (%(default)s); cpu tries the benchmark out"
    )
    parser.add_argument("--short", action="store_true", help="few images and epochs: does it run at all")
    options = parser.parse_args(argv)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("expected a GPU, found none; --device cpu --short tries the benchmark out")
    setting = Setting(options.cifar, options.work.resolve(), torch.device(options.device), options.short)
    measure(options.only or list(PARTS), PARTS, setting, options.results, _headline)


if __name__ == "__main__":
    main()
