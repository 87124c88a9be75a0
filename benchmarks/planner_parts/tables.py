"""Searches on NAS-Bench-201 as tables: every method in every setting, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.nb201 import methods
from benchmarks.nb201.runs import PRICE, SETTINGS, Make, Problem, regrets, summary
from benchmarks.nb201.space import Space
from llmastool.canonical import Json

BUDGETS = (10, 20, 30, 50, 100, 150, 200, 300)
JUDGED = (20, 50, 100)
LEVEL = 0.5
PARAMETERS_OF_A_UNIT = 16 * 16
"""Weights of a convolution of 1x1 in the cell."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """How much is measured."""

    name: str
    ours: int
    """Seeds of the planner."""
    peers: int
    """Seeds of what is cheap."""
    tpe: int
    """Seeds of Optuna's TPE."""
    evaluations: int
    peer_evaluations: int
    batch_evaluations: int
    ablated: int
    """Seeds of each ablation."""
    ablated_evaluations: int


SHORT = Form(
    name="short", ours=8, peers=40, tpe=4, evaluations=60, peer_evaluations=200,
    batch_evaluations=48, ablated=6,
    ablated_evaluations=40,
)  # fmt: skip
WHOLE = Form(
    name="whole", ours=30, peers=100, tpe=30, evaluations=100, peer_evaluations=300,
    batch_evaluations=60, ablated=16,
    ablated_evaluations=50,
)  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """What the searches work on."""

    space: Space
    table: Path
    form: Form

    def problem(self, data: str, noise: float, setting: str) -> Problem:
        return Problem.of(self.space, self.table, data, setting, noise)

    def each(self, noise: float, data: Sequence[str]) -> list[tuple[str, Problem]]:
        """Return every problem of some data sets with its name."""
        return [(f"{d} noise {noise} {setting}", self.problem(d, noise, setting)) for d in data for setting in SETTINGS]


def ours(bench: Bench, noise: float, data: Sequence[str]) -> Json:
    """The planner in every setting."""
    return {
        name: summary(regrets(problem, methods.planner, range(bench.form.ours), bench.form.evaluations), BUDGETS, LEVEL)
        for name, problem in bench.each(noise, data)
    }


def peers(bench: Bench, noise: float, data: Sequence[str]) -> Json:
    """Every peer in every setting."""
    found: Json = {}
    for name, problem in bench.each(noise, data):
        found[name] = {}
        for peer, make in methods.PEERS.items():
            slow = peer == "tpe"
            seeds = bench.form.tpe if slow else bench.form.peers
            evaluations = min(bench.form.peer_evaluations, 150 if slow else 10**6)
            regret = regrets(problem, make, range(seeds), evaluations)
            found[name][peer] = summary(regret, BUDGETS, LEVEL)
            print(name, peer, found[name][peer]["evaluations_to_half_point"], flush=True)
    return found


def variants(bench: Bench, makes: Mapping[str, Make], data: str = "cifar100", batch: int = 1) -> Json:
    """Return figures of variants of the planner, and of itself, with equal seeds."""
    found: Json = {}
    for setting in SETTINGS:
        problem = bench.problem(data, 0.3, setting)
        count, seeds = bench.form.ablated_evaluations, range(bench.form.ablated)
        for name, make in {methods.OURS: methods.planner, **makes}.items():
            regret = regrets(problem, make, seeds, count, batch)
            found.setdefault(name, {})[setting] = summary(regret, BUDGETS, LEVEL)
            print(setting, name, found[name][setting]["evaluations_to_half_point"], flush=True)
    return found


def ablations(bench: Bench) -> Json:
    """The planner without one of its parts, one at a time and in batches of four."""
    without_diversity = {"without diversity": methods.ABLATIONS["without diversity"]}
    return {
        "one at a time": variants(bench, methods.ABLATIONS),
        "batches of four": variants(bench, without_diversity, batch=4),
    }


def batches(bench: Bench) -> Json:
    """Batches of four beside one at a time: evaluations until the mean regret is at most half a point."""
    found: Json = {}
    for setting in SETTINGS:
        problem, row = bench.problem("cifar100", 0.3, setting), {}
        for batch in (1, 4):
            regret = regrets(problem, methods.planner, range(bench.form.ours), bench.form.batch_evaluations, batch)
            row[str(batch)] = summary(regret, BUDGETS, LEVEL)
        one, four = (row[b]["evaluations_to_half_point"] for b in ("1", "4"))
        found[setting] = {**row, "ratio": four / one if one and four else None}
    return found


def variations(bench: Bench) -> Json:
    """Another way to decide: Thompson's draws."""
    return {"thompson": variants(bench, {"thompson": methods.THOMPSON})["thompson"]}


def price_told(bench: Bench) -> Json:
    """The priced setting where the planner is told accuracies and the price, instead of their sum."""
    make = methods.knowing_the_price(PRICE / PARAMETERS_OF_A_UNIT * 1e6)
    found = {}
    for data in ("cifar100", "cifar10"):
        problem = replace(bench.problem(data, 0.3, "priced"), price_told=True)
        regret = regrets(problem, make, range(bench.form.ours), bench.form.evaluations)
        found[data] = summary(regret, BUDGETS, LEVEL)
    return found


def nuts(bench: Bench) -> Json:
    """The posterior drawn by NUTS beside the one fitted around its mode: equal seeds, the priced setting."""
    problem = bench.problem("cifar100", 0.3, "priced")
    seeds, count = range(min(bench.form.ablated, 6)), 30
    makes: Mapping[str, Make] = {"nuts": methods.NUTS, "fit": partial(methods.planner)}
    return {name: summary(regrets(problem, make, seeds, count), BUDGETS, LEVEL) for name, make in makes.items()}


def searched(results: Json) -> Json:
    """Return the figures of every method on every problem for which the planner and its peers are known."""
    mine, theirs = (_merged(results, part) for part in ("ours", "peers"))
    return {name: {methods.OURS: mine[name], **theirs[name]} for name in mine if name in theirs}


def _merged(results: Json, part: str) -> Json:
    """Return what parts of one sort say, by problem."""
    rows = [row for name, row in results.items() if name.partition(" ")[0] == part]
    return {name: value for row in rows for name, value in row.items() if " noise " in name}


def verdict(results: Json) -> Json:
    """Say where the planner is ahead of its peers, by how much, and where it is behind."""
    rows: Json = {}
    losses, wins = [], []
    for name, mine in searched(results).items():
        theirs = {method: row for method, row in mine.items() if method != methods.OURS}
        mine = mine[methods.OURS]
        own = mine["evaluations_to_half_point"]
        reached = {peer: row["evaluations_to_half_point"] for peer, row in theirs.items()}
        evolution = [reached[p] or theirs[p]["evaluations"] for p in reached if p.startswith("evolution")]
        others = {p: n for p, n in reached.items() if not p.startswith("evolution") and n}
        if "open" in name:
            largest = others.pop("largest first", None)
            rows.setdefault(name, {})["largest_first"] = largest
        best = min(others, key=lambda p: others[p], default=None)
        rows.setdefault(name, {}).update(
            {
                "planner": own,
                "evolution": min(evolution, default=None),
                "share_of_evolution": own / min(evolution) if own and evolution else None,
                "best_other_peer": best,
                "best_other_evaluations": others[best] if best else None,
                "share_of_best_other": own / others[best] if own and best else None,
            }
        )
        for budget in map(str, JUDGED):
            for peer, row in theirs.items():
                if budget not in row["regret"] or budget not in mine["regret"]:
                    continue
                a, b = mine["regret"][budget], row["regret"][budget]
                gap = b["mean"] - a["mean"]
                error = (a["standard_error"] ** 2 + b["standard_error"] ** 2) ** 0.5
                said = f"{name}, {peer} after {budget}: {gap:+.2f} +- {error:.2f}"
                if gap < -2 * error:
                    losses.append(said)
                elif gap > 2 * error:
                    wins.append(said)
    return {"evaluations": rows, "peer_better_by_two_errors": losses, "planner_better_by_two_errors": wins}
