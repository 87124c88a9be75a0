"""Measure the fillers, and write `benchmarks/results/filler.json`.

python -m benchmarks.filler                        a short form: no local model, few questions, no ablation
python -m benchmarks.filler --whole                all of it, some hours; the local model has to be installed
python -m benchmarks.filler --only hostile         some of it; the other figures are kept as they are
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

# Before NumPy is loaded: searches run side by side, one on each core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from benchmarks import searches
from benchmarks.filler_parts import answers, hostile
from benchmarks.filler_parts.questions import questions
from benchmarks.machine import ROOT
from benchmarks.parts import add_cifar, add_whole, measure, parser_of
from benchmarks.searches import RULES, Arm
from llmastool.canonical import Json
from llmastool.filler.config import FillerConfig
from llmastool.proposals.asked import Asked
from llmastool.training.data import prepare
from tests.filler.server import serve, well

RESULTS = ROOT / "benchmarks" / "results" / "filler.json"

POSTERIOR, LOCAL = FillerConfig(kind="posterior"), FillerConfig(kind="local")
ARMS: Mapping[str, Arm] = {
    "rules": Arm(filler=RULES), "posterior": Arm(filler=POSTERIOR), "local model": Arm(filler=LOCAL),
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What the benchmark works on, and how much of it is done."""

    cifar: Path
    work: Path
    whole: bool

    @cached_property
    def registry(self) -> Path:
        """The registry of what `params.yaml` names."""
        return searches.registered(self.work)

    @cached_property
    def asked(self) -> list[Asked]:
        """Questions of the kind that a search asks."""
        count = 1000 if self.whole else 100
        return questions(self.registry, count, self.work / f"questions-{count}.jsonl")

    def _filled(self, name: str, config: FillerConfig, asked: Sequence[Asked] | None = None) -> Json:
        ledger = self.work / "ledgers" / f"{name}-{len(self.asked)}.jsonl"
        return answers.filled(asked or self.asked, config, ledger, self.registry)

    def rules(self) -> Json:
        return self._filled("rules", RULES)

    def posterior(self) -> Json:
        # Nothing was trained for these questions: sizes stand in for what a planner would believe.
        weighed = [one.weighed([math.log(o.profile.parameters) for o in one.options()]) for one in self.asked]
        return self._filled("posterior", POSTERIOR, weighed)

    def endpoint(self) -> Json:
        with serve(well) as backend:
            return self._filled(
                "endpoint", FillerConfig(kind="openai", base_url=backend.url, model="m", max_calls=5000)
            )

    def hostile_endpoint(self) -> Json:
        with serve(hostile.fickle) as backend:
            config = FillerConfig(kind="openai", base_url=backend.url, model="m", max_calls=5000, retries=0)
            return self._filled("hostile", config)

    def replay(self) -> Json:
        ledger = self.work / "ledgers" / f"endpoint-{len(self.asked)}.jsonl"
        return self._filled("replay", FillerConfig(kind="replay", replay=str(ledger)))

    def local(self) -> Json:
        return self._filled("local", LOCAL)

    def hostile(self) -> Json:
        data = self.work / "digits"
        if not data.exists():
            prepare(searches.DIGITS.data, data, 0)
        return hostile.survived(self.work / "hostile", self.registry, data)

    def overhead(self) -> Json:
        with tempfile.TemporaryDirectory() as ledgers:
            return hostile.overhead(self.asked, Path(ledgers), 10 if self.whole else 3)

    def bias(self) -> Json:
        ways = {
            "as listed": replace(LOCAL, shuffle=False),
            "shuffled": LOCAL,
            "in three orders": replace(LOCAL, orders=3),
        }
        count = 80 if self.whole else 20
        # Three orders are three questions each.
        counts = {name: count if config.orders == 1 else 5 * count // 8 for name, config in ways.items()}
        return answers.preferences(answers.mixed(self.asked), ways, counts, self.work / "ledgers")

    def digits(self) -> Json:
        return searches.compare(searches.DIGITS, self.work, 5 if self.whole else 2, ARMS)

    def cifar10(self) -> Json:
        return searches.compare(searches.cifar10(self.cifar, 240.0), self.work, 5 if self.whole else 2, ARMS)


PARTS: dict[str, Callable[[Setting], Json]] = {
    "fills by rules": Setting.rules,
    "fills by posterior": Setting.posterior,
    "fills by an endpoint": Setting.endpoint,
    "fills by a hostile endpoint": Setting.hostile_endpoint,
    "fills by replay": Setting.replay,
    "fills by the local model": Setting.local,
    "hostile": Setting.hostile,
    "overhead": Setting.overhead,
    "bias": Setting.bias,
    "digits": Setting.digits,
    "cifar10 subset": Setting.cifar10,
}

SHORT_PARTS = (
    "fills by rules", "fills by posterior", "fills by an endpoint", "fills by a hostile endpoint", "fills by replay",
    "hostile", "overhead",
)  # fmt: skip
"""What the short form measures: what needs no local model, and no hours."""


def _headline(results: Json) -> Json:
    """Return the figures that are asked for by name, from the parts that are known."""
    rows = {name: row for name, row in results.items() if name.startswith("fills by ")}
    found: Json = {
        "fills_total": sum(row["fills"] for row in rows.values()),
        "fills_built": sum(row["built"] for row in rows.values()),
    }
    local = results.get("fills by the local model")
    if local is not None:
        found["prompt_tokens_median"] = local["prompt_tokens_median"]
    if "hostile" in results:
        found["hostile_cases"] = len(results["hostile"]["cases"])
        found["hostile_survived"] = results["hostile"]["survived"]
    if "overhead" in results:
        found["round_overhead_ratio"] = results["overhead"]["ratio_max"]
    if "bias" in results:
        ways = {name: row for name, row in results["bias"].items() if name != "machine"}
        found["position_bias"] = {name: row["position"]["distance"] for name, row in ways.items() if "position" in row}
    known = {name: results[name] for name in ("digits", "cifar10 subset") if name in results}
    if known:
        found["ablation"] = {
            name: {
                arm: {key: row[key] for key in ("best_after", "trained_share", *searches.VARIETY)}
                for arm, row in part["arms"].items()
            }
            for name, part in known.items()
        }
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the parts that are named, those of the short form by default."""
    parser = parser_of(__doc__, "filler", PARTS, RESULTS)
    add_whole(parser)
    add_cifar(parser)
    options = parser.parse_args(argv)
    setting = Setting(options.cifar, options.work.resolve(), options.whole)
    names = options.only or (list(PARTS) if options.whole else list(SHORT_PARTS))
    measure(names, PARTS, setting, options.results, _headline)


if __name__ == "__main__":
    main()
