"""Trainings on another machine: two folders that share nothing but a store stand for two machines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from llmastool.canonical import read_json
from llmastool.store import Store, StoreError, folder_digest
from llmastool.training import away
from llmastool.training.job import Job, JobError, Parent, done, run
from llmastool.training.process import WEIGHTS
from llmastool.training.recipe import Recipe, TrainingConfig
from llmastool.trees.tree import Tree

LIMITS = TrainingConfig(recipe=Recipe(epochs=1), seconds=120, memory_gb=2)
NET = Tree(
    "torch.nn.Sequential",
    {},
    (
        ("0", Tree("torch.nn.Flatten", {})),
        ("1", Tree("torch.nn.Linear", {"in_features": 64, "out_features": 32})),
        ("2", Tree("torch.nn.ReLU", {})),
        ("3", Tree("torch.nn.Linear", {"in_features": 32, "out_features": 10})),
    ),
)


def make(data: Path, epochs: int = 2, **fields: object) -> Job:
    values = {"tree": NET, "registry": None, "data": data, "recipe": Recipe(epochs=epochs), "seed": 0, "device": "cpu"}
    return Job(**{**values, **fields})  # type: ignore[arg-type]


def numbers(folder: Path) -> object:
    outcome = read_json(folder / "outcome.json")
    metrics = {k: v for k, v in outcome["metrics"].items() if "second" not in k}
    return metrics, [{k: v for k, v in epoch.items() if "second" not in k} for epoch in outcome["curve"]]


def test_a_training_elsewhere_ends_as_one_here(few_digits: Path, tmp_path: Path) -> None:
    job, store = make(few_digits, keep_weights=True), Store(str(tmp_path / "store"))
    errand = away.send(job, tmp_path / "trial", store)
    assert str(tmp_path / "trial") not in json.dumps(errand.job) and str(few_digits) not in json.dumps(errand.job)
    assert away.take_back(errand, job, tmp_path / "trial") is None
    outcome = away.do(errand, LIMITS, tmp_path / "elsewhere")
    assert away.take_back(errand, job, tmp_path / "trial") == outcome == done(job, tmp_path / "trial")
    run(job, tmp_path / "here", LIMITS)
    assert numbers(tmp_path / "trial") == numbers(tmp_path / "here")
    assert (tmp_path / "trial" / WEIGHTS).read_bytes() == (tmp_path / "here" / WEIGHTS).read_bytes()
    assert not list((tmp_path / "elsewhere" / "trials").glob("[!.]*"))
    assert not store.holds(errand.result)
    assert read_json(tmp_path / "trial" / "job.json")["key"] == job.key


def test_data_travels_once_and_is_checked(few_digits: Path, tmp_path: Path) -> None:
    store, cache = Store(str(tmp_path / "store")), tmp_path / "elsewhere"
    job = make(few_digits)
    first = away.send(job, tmp_path / "a", store)
    kept = tmp_path / "store" / f"{first.job['data']}.tar"
    stamp = kept.stat().st_mtime_ns
    away.do(first, LIMITS, cache)
    second = away.send(replace(job, seed=1), tmp_path / "b", store)
    assert second.job["data"] == first.job["data"] == folder_digest(few_digits)
    assert kept.stat().st_mtime_ns == stamp
    kept.write_bytes(kept.read_bytes()[:-20_000] + b"x" * 20_000)
    away.do(second, LIMITS, cache)  # has it already
    with pytest.raises(StoreError, match="is not that of its name; remove it there"):
        store.kept(first.job["data"], tmp_path / "third")
    assert not list((tmp_path / "third").glob("[!.]*")), "nobody takes it for whole"
    kept.unlink()
    with pytest.raises(StoreError, match=r"expected .* in it, found nothing; is that place shared\?"):
        away.do(second, LIMITS, tmp_path / "fourth")


def test_what_was_left_at_a_rung_goes_on_on_another_machine(few_digits: Path, tmp_path: Path) -> None:
    store, folder = Store(str(tmp_path / "store")), tmp_path / "trial"
    for until, machine in ((1, "one"), (3, "two"), (None, "one")):
        job = make(few_digits, epochs=4, until=until)
        errand = away.send(job, folder, store)
        outcome = away.do(errand, LIMITS, tmp_path / machine)
        assert len(outcome.curve) == (until or 4)
        assert away.take_back(errand, job, folder) == outcome
    run(make(few_digits, epochs=4), tmp_path / "whole", LIMITS)
    assert numbers(folder) == numbers(tmp_path / "whole")
    assert not list((tmp_path / "store" / "trials").iterdir())


def test_a_parents_weights_go_along(few_digits: Path, tmp_path: Path) -> None:
    store, old = Store(str(tmp_path / "store")), make(few_digits, keep_weights=True)
    run(old, tmp_path / "old", LIMITS)
    parent = Parent(tree=old.tree, key=old.key, weights=tmp_path / "old" / WEIGHTS)
    job = make(few_digits, epochs=3, parent=parent)
    errand = away.send(job, tmp_path / "trial", store)
    away.do(errand, LIMITS, tmp_path / "elsewhere")
    away.take_back(errand, job, tmp_path / "trial")
    run(job, tmp_path / "here", LIMITS)
    assert numbers(tmp_path / "trial") == numbers(tmp_path / "here")


def test_a_result_that_nobody_took_is_taken_and_not_made_again(few_digits: Path, tmp_path: Path) -> None:
    job, store = make(few_digits), Store(str(tmp_path / "store"))
    outcome = away.do(away.send(job, tmp_path / "trial", store), LIMITS, tmp_path / "one")
    again = away.send(job, tmp_path / "trial", store)
    assert away.do(again, LIMITS, tmp_path / "two") == outcome  # its seconds too
    assert away.take_back(again, job, tmp_path / "trial") == outcome


def test_a_worker_that_is_killed_leaves_a_checkpoint_from_which_the_next_goes_on(
    few_digits: Path, tmp_path: Path
) -> None:
    job, store = make(few_digits, epochs=60), Store(str(tmp_path / "store"))
    errand = away.send(job, tmp_path / "trial", store)
    (tmp_path / "errand.json").write_text(json.dumps(asdict(errand)))
    program = f"""
        import json
        from pathlib import Path
        from llmastool.training import away
        from llmastool.training.recipe import Recipe, TrainingConfig
        errand = away.Errand(**json.loads(Path({str(tmp_path / "errand.json")!r}).read_text()))
        limits = TrainingConfig(recipe=Recipe(epochs=1), seconds=120, memory_gb=2)
        away.do(errand, limits, Path({str(tmp_path / "machine")!r}))
    """
    worker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
    checkpoint = tmp_path / "machine" / "trials" / errand.result.rpartition("/")[2] / "work" / "checkpoint.pt"
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    assert checkpoint.exists() and not store.holds(errand.result)
    away.do(errand, LIMITS, tmp_path / "machine")
    away.take_back(errand, job, tmp_path / "trial")
    run(job, tmp_path / "whole", LIMITS)
    assert numbers(tmp_path / "trial") == numbers(tmp_path / "whole")


def test_a_machine_whose_workers_all_begin_at_once_takes_data_once(few_digits: Path, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    name = store.keep(few_digits)
    with ThreadPoolExecutor(8) as pool:
        places = list(pool.map(lambda _: Store(store.url).kept(name, tmp_path / "cache"), range(8)))
    assert set(places) == {tmp_path / "cache" / name} and folder_digest(places[0]) == name


def test_what_one_search_leaves_is_not_anothers(few_digits: Path, tmp_path: Path) -> None:
    job, store = make(few_digits), Store(str(tmp_path / "store"))
    ours, theirs = (away.send(job, tmp_path / run / "trial", store) for run in ("ours", "theirs"))
    short = replace(LIMITS, seconds=0.5)
    assert away.do(ours, short, tmp_path / "machine").gate == "timeout"
    assert away.do(theirs, LIMITS, tmp_path / "machine").gate == "ok"
    for errand, folder in ((ours, "ours"), (theirs, "theirs")):
        assert away.take_back(errand, job, tmp_path / folder / "trial") is not None
    assert not list((tmp_path / "store" / "trials").iterdir())


def test_a_rung_leaves_nothing_in_the_store(few_digits: Path, tmp_path: Path) -> None:
    job, store = make(few_digits, epochs=4, until=1), Store(str(tmp_path / "store"))
    errand = away.send(job, tmp_path / "trial", store)
    assert away.do(errand, LIMITS, tmp_path / "machine").gate == "stopped"
    held = (tmp_path / "store" / "trials").iterdir()
    assert len(list(held)) == 1
    away.take_back(errand, job, tmp_path / "trial")
    assert not list((tmp_path / "store" / "trials").iterdir())


def test_links_and_pipes_that_foreign_code_leaves_do_not_travel(tmp_path: Path) -> None:
    folder, store = tmp_path / "folder", Store(str(tmp_path / "store"))
    (folder / "work").mkdir(parents=True)
    (folder / "work" / "whole").write_text("text")
    (folder / "work" / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "work" / "pipe")
    store.put("a", folder)
    store.take("a", tmp_path / "taken")
    assert [path.name for path in (tmp_path / "taken" / "work").iterdir()] == ["whole"]


def test_passwords_in_an_address_are_not_shown() -> None:
    store = Store("memory://user:secret@store")
    with pytest.raises(StoreError, match="store memory://store: expected nothing in it") as error:
        store.take("nothing", Path("nowhere"))
    assert "secret" not in str(error.value)


def test_another_job_in_the_folder_is_refused(few_digits: Path, tmp_path: Path) -> None:
    away.send(make(few_digits), tmp_path / "trial", Store(str(tmp_path / "store")))
    with pytest.raises(JobError, match="holds job"):
        away.send(make(few_digits, seed=5), tmp_path / "trial", Store(str(tmp_path / "store")))


def test_an_address_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(StoreError, match="expected a folder or a URL that fsspec knows"):
        Store("nowhere://x")


def test_a_store_in_memory_serves_as_one_on_disk(few_digits: Path, tmp_path: Path) -> None:
    store = Store("memory://store")
    name = store.keep(few_digits)
    assert folder_digest(store.kept(name, tmp_path)) == name
    store.remove(name)
    assert not store.holds(name)
