"""Searches on real trees: arms, as the planner and its peers, train networks for equal times, and are compared.

A search is the library's own, round by round, as `dvc repro` runs it; it ends when its trainings have taken their
seconds together. All searches of a seed begin with the same networks, trained alike.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.machine import ROOT
from llmastool.archive import Entry
from llmastool.canonical import Json, read_lines
from llmastool.filler.config import FillerConfig
from llmastool.halving import HalvingConfig
from llmastool.mining.mine import mine_source, write
from llmastool.outcome import Outcome
from llmastool.params import Params
from llmastool.planner.baselines.config import BaselinesConfig
from llmastool.planner.baselines.evolution import EvolutionConfig
from llmastool.registry.register import register
from llmastool.runs import run_folder
from llmastool.search import Search
from llmastool.search_config import Name
from llmastool.training import job
from llmastool.training.data import DataConfig, prepare
from llmastool.training.recipe import Recipe
from llmastool.trees.budget import Budget
from llmastool.trees.distance import distance, signature

PER_ROUND = 6
MOST_ROUNDS = 30
SMALL = BaselinesConfig(evolution=EvolutionConfig(population=8, sample=3))
"""Populations that a search of some thirty networks can fill and then still evolve."""


RULES = FillerConfig(kind="rules")
TO_THE_END = HalvingConfig()


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What decides in a search."""

    strategy: Name = "planner"
    filler: FillerConfig = RULES
    halving: HalvingConfig = TO_THE_END


STRATEGIES = {name: Arm(strategy=name) for name in ("planner", "random", "evolution", "largest")}


@dataclass(frozen=True, kw_only=True)
class Task:
    """What networks are searched for."""

    data: DataConfig
    recipe: Recipe
    budget: Budget
    seconds: float
    """Training seconds of a search, processes' starts included, all workers together."""

    def params(self, arm: Arm, seed: int) -> Params:
        """Return the parameters of a search: those of `params.yaml` but for the task's own."""
        base = Params.load(ROOT / "params.yaml")
        return replace(
            base,
            seed=seed,
            data=self.data,
            budget=self.budget,
            search=replace(
                base.search,
                strategy=arm.strategy,
                rounds=MOST_ROUNDS,
                per_round=PER_ROUND,
                baselines=SMALL,
                halving=arm.halving,
            ),
            filler=arm.filler,
            # What counts here is what comes of a second.
            planner=replace(base.planner, per_second=True),
            # Slow machines train too, but no network takes more than a quarter of a search.
            training=replace(base.training, workers=1, recipe=self.recipe, seconds=max(60.0, self.seconds / 4)),
        )


QUICK = Recipe(epochs=3, batch_size=64, lr=0.1)
"""A few epochs: what a network can do soon."""

DIGITS = Task(
    data=DataConfig(path=str(ROOT / "assets" / "digits"), validation=0.4),
    recipe=QUICK,
    budget=Budget(parameters=2_000_000, flops=50_000_000),
    seconds=200.0,
)


def cifar10(folder: Path, seconds: float = 400.0) -> Task:
    """Return the search on 2,000 images to learn from and 2,000 to validate on."""
    return Task(
        data=DataConfig(name="cifar10", path=str(folder), limit=4000, validation=0.5),
        recipe=QUICK,
        budget=Budget(parameters=1_000_000, flops=20_000_000),
        seconds=seconds,
    )


def compare(task: Task, work: Path, seeds: int, arms: Mapping[str, Arm]) -> Json:
    """Run every arm with every seed, as many searches side by side as there are cores; one that ended is read.

    Args:
        task: what is searched for.
        work: folder that keeps the searches.
        seeds: searches of each arm.
        arms: by name; the first one is compared with the others seed by seed.
    """
    registry = registered(work)
    for seed in range(seeds):
        if not _data(task, work, seed).exists():
            prepare(task.data, _data(task, work, seed), seed)
    # Arm by arm, so that two searches of one seed, which share trainings, do not come to the same one at once.
    wanted = [(task, work, registry, name, arm, seed) for name, arm in arms.items() for seed in range(seeds)]
    # Fresh processes: a fork would inherit threads that are not there.
    with multiprocessing.get_context("spawn").Pool(min(os.cpu_count() or 1, seeds)) as pool:
        found = iter(pool.starmap(_one, wanted, chunksize=1))
    rows = {name: summary(list(itertools.islice(found, seeds)), task) for name in arms}
    return {
        "seconds": task.seconds,
        "per_round": PER_ROUND,
        "recipe": task.recipe.to_json(),
        "images": task.data.limit,
        "arms": rows,
        "ahead": {next(iter(arms)): _ahead(rows)},
    }


def _data(task: Task, work: Path, seed: int) -> Path:
    return work / f"{task.data.name}-{seed}"


def _one(task: Task, work: Path, registry: Path, name: str, arm: Arm, seed: int) -> Searched:
    """Search with one arm, and say on the console what came of it."""
    found = _searched(task, task.params(arm, seed), registry, _data(task, work, seed), work)
    row = summary([found], task)
    print(f"{task.data.name} {name} {seed}: {row['networks']['mean']} networks, {row['best']}", flush=True)
    return found


def evaluated(
    params: Params, registry: Path, data: Path, work: Path, seconds: float = math.inf
) -> tuple[list[Entry], list[float]]:
    """Search until the training seconds are used up; return all candidates, and what asking for each round took.

    Args:
        params: of the search.
        registry: folder of the registry.
        data: folder of the prepared images.
        work: folder that keeps searches and trainings.
        seconds: of training, all candidates together, after which no other training is begun.
    """
    asking: list[float] = []
    run = run_folder(work / "runs", params, data, registry)
    with Search.open(params, registry, data, run) as search:
        while not search.done and _spent(search) < seconds:
            start = time.monotonic()
            candidates = search.ask()
            asking.append(time.monotonic() - start)
            for candidate in candidates:
                if _spent(search) >= seconds:
                    break
                # One folder for a training, whichever search asks for it; but one that is trained in pieces takes
                # other seconds than one that is not.
                training, rungs = search.job(candidate), params.search.halving.rungs
                folder = "-".join(map(str, (training.key[:32], *rungs)))
                search.tell([job.run(training, work / "trials" / folder, params.training)])
        return search.entries(), asking


def _spent(search: Search) -> float:
    return sum(entry.outcome.seconds for entry in search.entries())


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What came of one search."""

    networks: Sequence[Mapping[str, Json]]
    """Of every candidate: accuracy, gate, profile, and who settled what was left open."""
    timeline: Sequence[tuple[float, float]]
    """After every training: seconds of all so far, and the best validation accuracy so far in percent."""

    def best(self, seconds: float) -> float:
        """Return the best validation accuracy after so many seconds, in percent; 0 before there was one."""
        return max((best for at, best in self.timeline if at <= seconds), default=0.0)

    def ended(self, seconds: float) -> int:
        """Return how many trainings had ended or been left by then."""
        return sum(at <= seconds for at, _ in self.timeline)


def _searched(task: Task, params: Params, registry: Path, data: Path, work: Path) -> Searched:
    """Search until the seconds are used up."""
    entries = evaluated(params, registry, data, work, task.seconds)[0]
    fills = [entry.candidate.fill for entry in entries]
    rows = [
        {
            "accuracy": entry.accuracy,
            "gate": entry.outcome.gate,
            "settled_by": fill["filler"] if fill is not None else None,
            "answer_seconds": fill["seconds"] if fill is not None else 0.0,
            "profile": entry.profile,
        }
        for entry, fill in zip(entries, fills, strict=True)
    ]
    run = run_folder(work / "runs", params, data, registry)
    return Searched(networks=rows, timeline=list(_timeline(read_lines(run / "events.jsonl"))))


def _timeline(events: Iterable[Json]) -> Iterator[tuple[float, float]]:
    """Yield the seconds of all trainings so far, and the best so far, after each, whether it ended or was left."""
    taken, best = dict[str, float](), 0.0
    for event in events:
        if event["event"] == "told":
            outcome = Outcome.from_json(event["outcome"])
            taken[outcome.candidate] = outcome.seconds
            best = max(best, outcome.metrics["validation_accuracy"] if outcome.ok else 0.0)
            yield sum(taken.values()), best


def registered(work: Path) -> Path:
    """Mine and probe what `params.yaml` names, once; return the registry's folder."""
    params, folder = Params.load(ROOT / "params.yaml"), work / "registry"
    if not folder.exists():
        write([mine_source(spec) for spec in params.mining.sources], work / "mined")
        register(work / "mined", folder, params.registry, work / "probes.jsonl")
    return folder


def summary(searches: Sequence[Searched], task: Task) -> Json:
    """Return the best validation accuracies of one arm after shares of the seconds, what it trained, and how varied."""
    shares = (0.25, 0.5, 0.75, 1.0)
    best = [[one.best(share * task.seconds) for share in shares] for one in searches]
    rows = [row for one in searches for row in one.networks]
    return {
        "seeds": len(searches),
        "best_after": {f"{share:.0%}": _spread([row[i] for row in best]) for i, share in enumerate(shares)},
        "networks": _spread([float(one.ended(task.seconds)) for one in searches]),
        "trained_share": _spread(
            [sum(row["gate"] in ("ok", "stopped") for row in one.networks) / len(one.networks) for one in searches],
        ),
        "best": [row[-1] for row in best],
        "timelines": [[[round(at, 1), value] for at, value in one.timeline] for one in searches],
        **{name: _spread([variety[name] for variety in map(_variety, searches)]) for name in VARIETY},
        "settled_by": dict(Counter(row["settled_by"] for row in rows if row["settled_by"])),
        "answer_seconds": sum(row["answer_seconds"] for row in rows),
    }


VARIETY = ("families", "modules", "distance")


def _variety(search: Searched) -> dict[str, float]:
    """Return how many families and modules a search's networks hold, and how far two of them are apart on average."""
    profiles = [row["profile"] for row in search.networks if row["profile"] is not None]
    signatures = [signature(profile) for profile in profiles]
    return {
        "families": float(len({slot.family for profile in profiles for slot in profile.slots})),
        "modules": float(len({slot.module for profile in profiles for slot in profile.slots})),
        "distance": statistics.fmean(distance(a, b) for a, b in itertools.combinations(signatures, 2)),
    }


def _spread(values: Sequence[float]) -> Json:
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values) if len(values) > 1 else None}


def _ahead(rows: Mapping[str, Json]) -> Json:
    """Return by how much the first arm's best is ahead of each other's, seed by seed, in percentage points."""
    first, *others = rows
    own = rows[first]["best"]
    found = {}
    for name in others:
        gaps = [a - b for a, b in zip(own, rows[name]["best"], strict=True)]
        error = statistics.stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else None
        found[name] = {"mean": statistics.fmean(gaps), "standard_error": error}
    return found
