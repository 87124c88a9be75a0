"""The whole search on a small registry and real digits: ask, tell, stop, go on, and end alike."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from llmastool.archive import fingerprint, read_archive, timeless
from llmastool.candidate import Candidate
from llmastool.canonical import dumps, read_json, read_lines
from llmastool.errors import ConfigError, DataError
from llmastool.filler.config import FillerConfig
from llmastool.filler.ledger import exchanges
from llmastool.outcome import Outcome
from llmastool.params import Params
from llmastool.planner.config import PlannerConfig, PosteriorConfig
from llmastool.planner.plan import FRESH
from llmastool.search import Search
from llmastool.training import job as training
from llmastool.training.data import prepare
from tests.filler.server import serve, well

PARAMS = """
data: {path: assets/digits, limit: 300}
mining: {sources: [{kind: path, path: /nowhere}]}
start:
  skeletons: [{channels: 4, cells: 1, stages: 2}, {channels: 200, cells: 1}]
  mined: [{module: tiny.nets.Net, args: {widths: [4, 8]}}]
budget: {parameters: 60000, flops: 20000000}
search: {rounds: 2, per_round: 3, pool: 12, doubles: 3, fresh: 2}
planner: {min_observations: 100}
filler: {kind: rules}
training: {recipe: {epochs: 1, batch_size: 32, lr: 0.05}, seconds: 60}
"""

Opened = Callable[[Path], Search]


@pytest.fixture(scope="module")
def opened(registry_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    folder = tmp_path_factory.mktemp("search")
    (folder / "params.yaml").write_text(PARAMS)
    params = Params.load(folder / "params.yaml")
    prepare(params.data, folder / "data", params.seed)
    return lambda run: Search.open(params, registry_folder, folder / "data", run)


def step(search: Search, most: int | None = None) -> int:
    """Train what is asked for, at most so many, and tell."""
    asked = search.ask()[:most]

    def evaluate(candidate):  # type: ignore[no-untyped-def]
        return training.run(search.job(candidate), search.trial_folder(candidate), search.params.training)

    with ThreadPoolExecutor(2) as pool:
        search.tell(list(pool.map(evaluate, asked)))
    return len(asked)


@pytest.fixture(scope="module")
def finished(opened: Opened, tmp_path_factory: pytest.TempPathFactory) -> Search:
    search = opened(tmp_path_factory.mktemp("run"))
    while not search.done:
        step(search)
    return search


def test_every_candidate_has_an_outcome_and_a_plan(finished: Search) -> None:
    entries = finished.entries()
    assert [e.candidate.round for e in entries] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len({e.candidate.id for e in entries}) == 9
    gates = [e.outcome.gate for e in entries]
    assert gates[1] == "budget" and "at most 60,000 parameters" in entries[1].outcome.message
    assert gates.count("ok") >= 6
    for entry in entries[3:]:
        plan, fill = entry.candidate.plan, entry.candidate.fill
        assert plan is not None and fill is not None and entry.profile is not None
        assert fill["filler"] == "rules"
        assert entry.profile.parameters <= 60_000
        parent = entry.candidate.parent
        assert parent is None if plan["kind"] == FRESH else parent in {e.candidate.id for e in entries}
    assert all(0 < (e.accuracy or 0) <= 100 for e in entries if e.outcome.ok)


def test_no_trial_saw_the_test_split(finished: Search) -> None:
    jobs = [read_json(path)["job"] for path in finished.run.glob("trials/*/job.json")]
    assert len(jobs) == 8
    assert {(j["train_on"], j["evaluate_on"]) for j in jobs} == {("train", "validation")}


def test_a_search_stopped_anywhere_ends_with_the_same_archive(finished: Search, opened: Opened, tmp_path: Path) -> None:
    """Opened anew for every single candidate, and with a torn last line in its log; what was trained is not again."""
    shutil.copytree(finished.run / "trials", tmp_path / "trials")
    for _ in range(40):
        search = opened(tmp_path)
        if search.done:
            break
        step(search, most=1)
        with (tmp_path / "events.jsonl").open("ab") as log:
            log.write(b'{"event": "told", "outc')
    assert fingerprint(opened(tmp_path).entries()) == fingerprint(finished.entries())
    assert [e["event"] for e in read_lines(tmp_path / "events.jsonl")].count("asked") == 3


def test_a_round_planned_ahead_is_the_one_that_would_be_planned_later(
    finished: Search, registry_folder: Path, tmp_path: Path
) -> None:
    """It knows what came before the round that trains; a search that is stopped after or before planning ends alike."""
    changed = replace(finished.params.search, ahead=True, rounds=3, pool=6, doubles=2)
    planner = PlannerConfig(min_observations=3, posterior=PosteriorConfig(method="fit"))
    params = replace(finished.params, search=changed, planner=planner)

    def opened(run: str) -> Search:
        return Search.open(params, registry_folder, finished.data, tmp_path / run)

    with opened("beside") as search:
        while not search.done:
            asked = search.ask()
            search.ask_ahead()
            search.tell([_came(candidate) for candidate in asked])
        entries = search.entries()
        events = [e["event"] for e in read_lines(search.run / "events.jsonl")]
        search.write(tmp_path / "out")
    assert events.count("asked") == 4
    assert [i for i, e in enumerate(events) if e == "planned"] == [i + 1 for i in _places(events, "asked")[1:3]]
    reports = read_archive(tmp_path / "out" / "archive.json")["planner_reports"]
    trained = [sum(e.outcome.ok for e in entries if e.candidate.round < n) for n in range(3)]
    assert [r["report"]["observations"] for r in reports] == [trained[1], trained[1], trained[2]]
    assert len({e.candidate.id for e in entries}) == 12

    for number in range(8):
        with opened("stopped") as search:
            asked = search.ask()
            if number % 4:  # stopped while it planned ahead, it has not planned: the round is planned when it is due
                search.ask_ahead()
            if number % 2:
                search.tell([_came(candidate) for candidate in asked])
    assert search.done
    assert fingerprint(search.entries()) == fingerprint(entries)
    ledgers = [list(read_lines(tmp_path / run / "fills.jsonl")) for run in ("beside", "stopped")]
    one, other = ([line["question"] for line in ledger] for ledger in ledgers)
    assert one == other


def _places(values: list[str], value: str) -> list[int]:
    return [i for i, v in enumerate(values) if v == value]


def test_the_fillers_replies_are_replayed_from_the_ledger(finished: Search, opened: Opened, tmp_path: Path) -> None:
    shutil.copy(finished.run / "fills.jsonl", tmp_path)
    shutil.copytree(finished.run / "trials", tmp_path / "trials")
    search = opened(tmp_path)
    while not search.done:
        step(search)
    assert fingerprint(search.entries()) == fingerprint(finished.entries())
    assert (tmp_path / "fills.jsonl").read_bytes() == (finished.run / "fills.jsonl").read_bytes()


def test_a_search_that_asked_an_llm_is_replayed_without_one(
    finished: Search, registry_folder: Path, tmp_path: Path
) -> None:
    """In a folder of its own, with nothing but the ledger; the archives are equal to the byte but for times."""
    asked, again = tmp_path / "asked", tmp_path / "again"
    shutil.copytree(finished.run / "trials", asked / "trials")

    def search(filler: FillerConfig, run: Path) -> str:
        params = replace(finished.params, filler=filler, search=replace(finished.params.search, rounds=1))
        with Search.open(params, registry_folder, finished.data, run) as opened:
            while not opened.done:
                step(opened)
            opened.write(run / "out")
        return dumps(timeless(read_archive(run / "out" / "archive.json")))

    with serve(well) as backend:
        first = search(FillerConfig(kind="openai", base_url=backend.url, model="m", orders=2), asked)
    ledger = list(exchanges(asked / "fills.jsonl"))
    assert any(len(e.turns) == 2 and e.fill.filler == "openai:m" for e in ledger), "the LLM was asked"
    shutil.copytree(asked / "trials", again / "trials")
    assert search(FillerConfig(kind="replay", replay=str(asked / "fills.jsonl")), again) == first
    assert "openai:m" in first and '"bias":{"family"' in first


def test_what_is_made_of_the_start_population_costs_as_much_more_as_it_may(
    finished: Search, registry_folder: Path, tmp_path: Path
) -> None:
    """The first round is asked for again."""
    events = list(read_lines(finished.run / "events.jsonl"))
    first = [i for i, event in enumerate(events) if event["event"] == "asked"][1]
    (tmp_path / "events.jsonl").write_text("".join(dumps(event) + "\n" for event in events[:first]))
    params = replace(finished.params, budget=replace(finished.params.budget, growth=1.05))
    with Search.open(params, registry_folder, finished.data, tmp_path) as search:
        assert search.ask()
    *_, last = read_lines(tmp_path / "events.jsonl")
    most = max(proposed["profile"]["flops"] for proposed in events[0]["candidates"] if proposed["profile"])
    assert all(proposed["profile"]["flops"] <= 1.05 * most for proposed in last["candidates"])
    assert last["pool"]["budget"] > events[first]["pool"].get("budget", 0)


def test_a_filler_can_follow_the_planner(finished: Search, registry_folder: Path, tmp_path: Path) -> None:
    """It settles the last round again, with a planner that believes something."""
    events = (finished.run / "events.jsonl").read_text().splitlines(keepends=True)
    last = max(i for i, line in enumerate(events) if '"asked"' in line)
    (tmp_path / "events.jsonl").write_text("".join(events[:last]))
    params = replace(
        finished.params,
        planner=PlannerConfig(min_observations=3, posterior=PosteriorConfig(method="fit")),
        filler=FillerConfig(kind="posterior"),
        search=replace(finished.params.search, pool=60, per_round=6),
    )
    with Search.open(params, registry_folder, finished.data, tmp_path) as search:
        fills = [c.fill for c in search.ask()]
    lines = list(read_lines(tmp_path / "fills.jsonl"))
    assert len(fills) == len(lines) == 6
    for fill, line in zip(fills, lines, strict=True):
        worths = {choice["key"]: choice["worths"] for choice in line["question"]["choices"]}
        assert fill is not None and fill["filler"] == "posterior"
        assert worths[fill["key"]][fill["value"]] == max(w for many in worths.values() for w in many) >= 0
        assert all(
            len(worths[c["key"]]) == len((c["free"] or {"values": [0]})["values"]) for c in line["question"]["choices"]
        )
    assert max(len(line["question"]["choices"]) for line in lines) > 1


def test_what_was_told_is_not_told_twice(finished: Search) -> None:
    before = (finished.run / "events.jsonl").read_bytes()
    first = finished.entries()[0]
    finished.tell([Outcome(candidate=first.candidate.id, gate="crash", message="another")])
    assert (finished.run / "events.jsonl").read_bytes() == before
    assert finished.ask() == []


def test_the_archive_is_written_for_readers(finished: Search, tmp_path: Path) -> None:
    finished.write(tmp_path)
    archive = read_archive(tmp_path / "archive.json")
    assert archive["fingerprint"] == fingerprint(finished.entries())
    assert [r["round"] for r in archive["planner_reports"]] == [1, 2]
    # The posterior says nothing of so few; what the edits gained is known all the same.
    assert set(archive["explained"]) == {"edits by kind", "edits by family"}
    assert all(r["pool"]["ok"] >= 3 for r in archive["planner_reports"])
    assert [(d["round"], d["distance"] is not None) for d in archive["diversity"]] == [(0, True), (1, True), (2, True)]
    for key in ("families", "modules"):
        counts = [d[key] for d in archive["diversity"]]
        assert counts == sorted(counts) and counts[0] > 0
    metrics = read_json(tmp_path / "metrics.json")
    assert metrics["candidates"] == 9 and metrics["best_accuracy"] >= metrics["start_accuracy"]
    rows = (tmp_path / "candidates.csv").read_text().splitlines()
    assert len(rows) == 10 and rows[2].split(",")[3] == "budget"
    with pytest.raises(DataError, match="expected an archive, found none"):
        read_archive(tmp_path / "none.json")


def test_a_start_network_that_does_not_exist_is_named(opened: Opened, registry_folder: Path, tmp_path: Path) -> None:
    params = yaml.safe_load(PARAMS)
    params["start"]["mined"] = [{"module": "tiny.nets.NoSuchNet"}]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    search = opened(tmp_path)
    broken = Search(Params.load(tmp_path / "params.yaml"), registry_folder, search.data, tmp_path / "run")
    with pytest.raises(
        ConfigError, match=r"start\.mined\[0\] \(tiny\.nets\.NoSuchNet\): .*registry has none of that name"
    ):
        broken.ask()


def test_children_begin_with_the_weights_of_their_parents(
    opened: Opened, registry_folder: Path, tmp_path: Path
) -> None:
    params = yaml.safe_load(PARAMS)
    params["training"]["inherit"] = True
    params["search"] |= {"rounds": 1, "per_round": 2}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    data = opened(tmp_path).data
    with Search.open(Params.load(tmp_path / "params.yaml"), registry_folder, data, tmp_path / "run") as search:
        while not search.done:
            step(search)
        started, bred = search.entries()[:3], search.entries()[3:]
    assert not any("inherited" in e.outcome.metrics for e in started)
    assert bred and all(0 < e.outcome.metrics["inherited"] <= 1 for e in bred if e.outcome.ok)
    assert all(search.job(e.candidate).parent is not None for e in bred)


@pytest.mark.parametrize(
    "strategy", ["random", "evolution", *(pytest.param(s, marks=pytest.mark.slow) for s in ("local", "largest"))]
)
def test_a_baseline_decides_in_the_planners_place(
    strategy: str, opened: Opened, registry_folder: Path, tmp_path: Path
) -> None:
    params = yaml.safe_load(PARAMS)
    small = {"evolution": {"population": 3, "sample": 2}, "local": {"start": 3}, "largest": {"fresh": 4}}
    params["search"] |= {"strategy": strategy, "per_round": 2, "baselines": small}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    data = opened(tmp_path).data
    with Search.open(Params.load(tmp_path / "params.yaml"), registry_folder, data, tmp_path / "run") as search:
        while not search.done:
            # What a network is worth is no matter here: nothing is trained.
            search.tell([_came(candidate) for candidate in search.ask()])
        started, bred = search.entries()[:3], search.entries()[3:]
        search.write(tmp_path)
        with Search.open(search.params, registry_folder, data, tmp_path / "run") as again:
            assert again.done and fingerprint(again.entries()) == fingerprint(search.entries())
    assert [e.candidate.round for e in bred] == [1, 1, 2, 2]
    plans = [e.candidate.plan or {} for e in bred]
    assert {plan["reason"].split()[0] for plan in plans} == {strategy}
    for plan, entry in zip(plans, bred, strict=True):
        parent = entry.candidate.parent
        assert (parent is None) == (plan["kind"] == FRESH) and entry.profile is not None
        assert parent is None or parent in {e.candidate.id for e in search.entries()}
    assert all(plan["kind"] == FRESH for plan in plans) == (strategy == "random")
    assert len({e.candidate.id for e in started + bred}) == 7
    reports = read_archive(tmp_path / "archive.json")["planner_reports"]
    assert [sum(r["report"]["rules"].values()) for r in reports] == [2, 2]


def _came(candidate: Candidate) -> Outcome:
    accuracy = 40.0 + int(candidate.id[:4], 16) % 400 / 10
    return Outcome(candidate=candidate.id, gate="ok", message="", metrics={"validation_accuracy": accuracy})


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"strategy": "magic"}, r"params\.search\.strategy: expected one of 'planner', 'random', .*, got 'magic'"),
        ({"doubles": -1}, r"params\.search\.doubles: expected 0 or more, got -1"),
        ({"fresh": -1}, r"params\.search\.fresh: expected 0 or more, got -1"),
        ({"pool": 2, "per_round": 3}, r"params\.search\.pool: expected at least per_round \(3\), got 2"),
        ({"baselines": {"evolution": {"sample": 0}}}, r"evolution\.sample: expected 1 to population \(20\), got 0"),
    ],
)
def test_settings_out_of_range_are_refused(search: dict[str, object], message: str, tmp_path: Path) -> None:
    params = yaml.safe_load(PARAMS)
    params["search"] |= search
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(ConfigError, match=message):
        Params.load(tmp_path / "params.yaml")
