"""Who is trained on, and what the planner learns of those who are not."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmastool.archive import fingerprint
from llmastool.candidate import Candidate
from llmastool.canonical import read_json, read_lines
from llmastool.curves import Curve, expected
from llmastool.errors import ConfigError
from llmastool.halving import FEWEST_CURVES, HalvingConfig, chance, going_on
from llmastool.outcome import Outcome
from llmastool.params import Params
from llmastool.search import Search
from llmastool.training import job as training
from llmastool.training.data import prepare

ARRIVED = {"a": 30.0, "b": 50.0, "c": 40.0, "d": 20.0, "e": 45.0, "f": 10.0}


def test_the_best_share_of_all_that_came_so_far_goes_on() -> None:
    third = HalvingConfig(rungs=(1,))
    assert going_on(third, ARRIVED, list("abcdef"), []) == ["b", "e"]
    assert going_on(third, ARRIVED, list("acd"), []) == []
    assert going_on(third, {"a": 1.0}, ["a"], []) == ["a"]
    assert going_on(HalvingConfig(rungs=(1,), keep=0.9), ARRIVED, list("abcdef"), []) == [*list("abcde"), "f"]


def test_what_cannot_become_the_best_does_not_go_on() -> None:
    rng = np.random.default_rng(0)
    curves = [(x, x + 30 + rng.normal(0, 0.5)) for x in np.linspace(10, 60, 12)]
    assert chance(62.0, curves, best=90.0) > 0.9
    assert chance(30.0, curves, best=90.0) < 0.001
    assert 0.2 < chance(60.0, curves, best=90.0) < 0.8
    assert chance(30.0, curves[: FEWEST_CURVES - 1], best=90.0) == 1.0
    asks = HalvingConfig(rungs=(1,), keep=0.5, chance=0.05)
    assert going_on(asks, ARRIVED, list("abcdef"), curves) == []
    assert going_on(asks, {**ARRIVED, "g": 61.0}, list("abcdefg"), curves) == ["g"]


def test_a_chance_is_calibrated() -> None:
    """Of trainings that are said to win with such a probability, about as many do."""
    rng, said, won = np.random.default_rng(0), [], []
    for _ in range(800):
        x = rng.uniform(20, 60, 9)
        y = 35 + 0.8 * x + rng.normal(0, 3, 9)
        best = float(y[:8].max())
        said.append(chance(float(x[8]), list(zip(x[:8].tolist(), y[:8].tolist(), strict=True)), best))
        won.append(y[8] > best)
    for low, high in ((0.0, 0.1), (0.1, 0.4), (0.4, 1.0)):
        inside = [(s, w) for s, w in zip(said, won, strict=True) if low <= s < high]
        expected, found = (float(np.mean(values)) for values in zip(*inside, strict=True))
        assert abs(expected - found) < 0.08, (low, expected, found, len(inside))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"rungs": (2, 1)}, "rungs: expected numbers of epochs, 1 or more, ascending"),
        ({"rungs": (0,)}, "rungs: expected"),
        ({"keep": 1.0}, "keep: expected a share"),
        ({"chance": 1.0}, "chance: expected a probability"),
    ],
)
def test_bad_settings(fields: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        HalvingConfig(**fields)  # type: ignore[arg-type]


PARAMS = """
data: {path: assets/digits, limit: 300}
mining: {sources: [{kind: path, path: /nowhere}]}
start:
  skeletons: [{channels: 4, cells: 1, stages: 2}, {channels: 5, cells: 1, stages: 2}, {channels: 6, cells: 1, stages: 2}]
budget: {parameters: 60000, flops: 20000000}
search: {rounds: 1, per_round: 3, pool: 12, doubles: 3, fresh: 2, halving: {rungs: [1, 2], keep: 0.5}}
planner: {min_observations: 3, posterior: {method: fit}}
filler: {kind: rules}
training: {recipe: {epochs: 4, batch_size: 32, lr: 0.05}, seconds: 60}
"""


def test_a_rung_at_the_end_or_beyond_is_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS.replace("[1, 2]", "[1, 4]"))
    with pytest.raises(ConfigError, match=r"search\.halving\.rungs: expected numbers of epochs below 4, got \(1, 4\)"):
        Params.load(tmp_path / "params.yaml")


def step(search: Search, most: int | None = None) -> list[Outcome]:
    outcomes = []
    for candidate in search.ask()[:most]:
        outcomes.append(training.run(search.job(candidate), search.trial_folder(candidate), search.params.training))
        search.tell(outcomes[-1:])
    return outcomes


def test_a_search_with_rungs(registry_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS.replace("per_round: 3", "per_round: 6").replace("0.5", "0.4"))
    params = Params.load(tmp_path / "params.yaml")
    prepare(params.data, tmp_path / "data", params.seed)

    with Search.open(params, registry_folder, tmp_path / "data", tmp_path / "run") as search:
        asked = []
        while not search.done:
            asked.append([len(o.curve) for o in step(search)])
        entries = search.entries()
        folders = {e.candidate.id: search.trial_folder(e.candidate) for e in entries}
        records = search.records()
        search.write(tmp_path / "out")
    assert len(read_json(tmp_path / "out" / "archive.json")["entries"]) == 9
    # The start population is trained to the end. Of those that came to the first rung the best two fifths go on; some
    # of round 1 may fall before.
    assert asked[0] == [4, 4, 4] and set(asked[1]) <= {0, 1} and sum(asked[1]) >= 3
    assert all(set(epochs) in ({2}, {4}) for epochs in asked[2:])
    gates = [e.outcome.gate for e in entries]
    assert gates[:3] == ["ok"] * 3 and "stopped" in gates[3:]
    arrived = [(e, r) for e, r in zip(entries, records, strict=True) if e.outcome.gate in ("ok", "stopped")]
    for entry, record in arrived:
        folder, epochs = folders[entry.candidate.id], len(entry.outcome.curve)
        assert not (folder / "work").exists() and not (folder / "data").exists()
        assert (entry.accuracy is None) == (record.accuracy is None) == (entry.outcome.gate == "stopped")
        assert [round(4 * share) for share in record.partial] == [r for r in (1, 2) if r <= epochs]
        assert epochs == 4 or entry.candidate.round == 1
        if entry.outcome.gate == "stopped":
            assert entry.outcome.message == f"left after {epochs} of 4 epochs"
    # The rule holds at the first decision: by what is expected, and what is known of the start.
    curves = {
        e.candidate.id: Curve(
            e.candidate.parent,
            {1: e.outcome.curve[0]["validation_accuracy"]},
            e.outcome.curve[-1]["validation_accuracy"] if e.candidate.round == 0 else None,
        )
        for e, _ in arrived
    }
    worth = expected(curves, 1) | {name: curve.end for name, curve in curves.items() if curve.end is not None}
    best = sorted(worth, key=lambda name: -worth[name])[: math.ceil(0.4 * len(worth))]
    went = {e.candidate.id for e, _ in arrived[3:] if len(e.outcome.curve) > 1}
    assert went == set(best) & {e.candidate.id for e, _ in arrived[3:]}


@pytest.mark.slow
def test_a_search_with_rungs_stopped_anywhere_ends_alike(registry_folder: Path, tmp_path: Path) -> None:
    """Opened anew for every single training. What was trained is not trained again."""
    (tmp_path / "params.yaml").write_text(PARAMS.replace("per_round: 3", "per_round: 6").replace("0.5", "0.4"))
    params = Params.load(tmp_path / "params.yaml")
    prepare(params.data, tmp_path / "data", params.seed)

    def opened(run: str, params: Params = params) -> Search:
        return Search.open(params, registry_folder, tmp_path / "data", tmp_path / run)

    trained = 0
    with opened("run") as search:
        while not search.done:
            trained += len(step(search))
        entries = search.entries()
    shutil.copytree(tmp_path / "run" / "trials", tmp_path / "torn" / "trials")
    for _ in range(40):
        with opened("torn") as search:
            if search.done:
                break
            step(search, most=1)
    assert fingerprint(search.entries()) == fingerprint(entries)
    told = [e for e in read_lines(tmp_path / "torn" / "events.jsonl") if e["event"] == "told"]
    assert len(told) == trained
    seconds: dict[str, list[float]] = {}
    for event in told:
        seconds.setdefault(event["outcome"]["candidate"], []).append(event["outcome"]["seconds"])
    assert all(values == sorted(values) for values in seconds.values()), "they add up over the rungs"

    # What was trained to the end is trained as it would have been without rungs.
    whole = replace(params, search=replace(params.search, halving=HalvingConfig(), rounds=0))
    with opened("whole", whole) as search:
        step(search)
        plain = {e.candidate.id: e.outcome for e in search.entries()}
    for entry in entries[:3]:
        for ours, theirs in zip(entry.outcome.curve, plain[entry.candidate.id].curve, strict=True):
            assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}


def test_what_is_known_is_not_taken_twice(registry_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    params = Params.load(tmp_path / "params.yaml")
    prepare(params.data, tmp_path / "data", params.seed)
    with Search.open(params, registry_folder, tmp_path / "data", tmp_path / "run") as search:
        start = search.ask()

        def outcome(candidate: Candidate, *accuracies: float) -> Outcome:
            curve = tuple({"epoch": i, "validation_accuracy": a} for i, a in enumerate(accuracies, 1))
            return Outcome(candidate=candidate.id, gate="ok" if len(curve) == 4 else "stopped", curve=curve)

        assert search.job(start[0]).until == 4
        search.tell([outcome(c, 10.0, 20.0, 30.0, 40.0) for c in start])
        candidates = search.ask()
        # All begin beside the same curve: those at 10 are expected to end at 40, as the start does.
        search.tell([outcome(candidates[0], 10.0), outcome(candidates[0], 99.0)])
        search.tell([outcome(c, a) for c, a in zip(candidates[1:], (30.0, 20.0), strict=True)])
        assert [c.id for c in search.ask()] == [candidates[1].id, candidates[2].id]
        assert [search.settled(c) for c in candidates] == [True, False, False]
        assert search.job(candidates[1]).until == 2
        search.tell([outcome(candidates[2], 20.0, 25.0)])
        assert [c.id for c in search.ask()] == [candidates[1].id]
        search.tell([Outcome(candidate=candidates[1].id, gate="numerics", message="the loss is not finite")])
        assert [c.id for c in search.ask()] == [candidates[2].id] and search.job(candidates[2]).until == 4
        search.tell([outcome(candidates[2], 20.0, 25.0, 28.0, 29.0)])
        assert search.done
        assert [e.outcome.gate for e in search.entries()] == ["ok"] * 3 + ["stopped", "numerics", "ok"]
