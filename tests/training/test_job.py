"""Jobs are done by real worker processes in the real sandbox; nothing here is imitated."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llmastool import sandbox
from llmastool.canonical import read_json, write_json
from llmastool.errors import ConfigError, DataError, RegistryError
from llmastool.outcome import Outcome
from llmastool.training import process
from llmastool.training.data import files, load, load_meta
from llmastool.training.job import Job, JobError, Parent, run
from llmastool.training.loop import evaluate
from llmastool.training.recipe import Recipe, TrainingConfig
from llmastool.trees.tree import Tree

LONG = TrainingConfig(recipe=Recipe(epochs=1), seconds=120, memory_gb=2)


def _node(name: str, **args: Any) -> Tree:
    return Tree(f"torch.nn.{name}", args)


def _sequential(*nodes: Tree) -> Tree:
    return Tree("torch.nn.Sequential", {}, tuple((str(i), node) for i, node in enumerate(nodes)))


CONV = _sequential(
    _node("Conv2d", in_channels=1, out_channels=8, kernel_size=3, padding=1),
    _node("BatchNorm2d", num_features=8),
    _node("ReLU"),
    _node("Dropout", p=0.1),
    _node("Flatten"),
    _node("Linear", in_features=512, out_features=10),
)


def _job(data: Path, tree: Tree = CONV, **fields: Any) -> Job:
    recipe = Recipe(**{"epochs": 2, **fields.pop("recipe", {})})
    return Job(**{"tree": tree, "registry": None, "data": data, "recipe": recipe, "seed": 0, "device": "cpu", **fields})


def _timeless(value: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in value.items() if not k.endswith(("seconds", "per_second"))}


def _workers(folder: Path) -> list[int]:
    """Ids of the worker processes at a job's folder, the sandbox around them left out."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            argv = path.read_bytes().decode().split("\0")
            if argv[0] == sys.executable and "llmastool.training.worker" in argv and str(folder) in argv:
                found.append(int(path.parent.name))
    return found


def _until(condition: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def search_job(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Job, Path, Outcome]]:
    """A job of the search, done."""
    job, folder = _job(few_digits), tmp_path_factory.mktemp("jobs") / "search"
    yield job, folder, run(job, folder, LONG)


def test_a_job_of_the_search(search_job: tuple[Job, Path, Outcome]) -> None:
    job, folder, outcome = search_job
    assert outcome.ok, outcome.message
    assert outcome.candidate == job.tree.id
    assert [entry["epoch"] for entry in outcome.curve] == [1, 2]
    assert outcome.metrics["validation_accuracy"] == outcome.curve[-1]["validation_accuracy"]
    assert outcome.metrics["parameters"] == 8 * 9 + 8 + 16 + 512 * 10 + 10
    assert outcome.metrics["images_per_second"] > 0
    assert not [name for name in outcome.metrics if name.startswith("test")]
    assert sorted(p.name for p in folder.iterdir()) == ["job.json", "log.txt", "outcome.json", "starts.jsonl"]
    assert len((folder / "starts.jsonl").read_text().splitlines()) == 1
    assert Outcome.from_json(read_json(folder / "outcome.json")) == outcome


def test_a_done_job_is_not_done_again(search_job: tuple[Job, Path, Outcome]) -> None:
    job, folder, outcome = search_job
    log = (folder / "log.txt").stat()
    assert run(job, folder, LONG) == outcome
    assert (folder / "log.txt").stat() == log


def test_a_folder_is_one_jobs(search_job: tuple[Job, Path, Outcome]) -> None:
    job, folder, _ = search_job
    with pytest.raises(JobError, match=r"holds job .*, not .*remove this one or take another"):
        run(replace(job, seed=1), folder, LONG)


def test_a_final_job_is_equal_wherever_it_runs_and_keeps_its_weights(few_digits: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_model

    from llmastool.trees.build import build
    from llmastool.trees.catalog import Catalog

    job = _job(few_digits, train_on="train+validation", evaluate_on="test", keep_weights=True)
    outcomes = [run(job, tmp_path / name, LONG) for name in ("a", "b")]
    assert outcomes[0].ok, outcomes[0].message
    assert _timeless(outcomes[0].metrics) == _timeless(outcomes[1].metrics)
    assert not [name for name in outcomes[0].metrics if name.startswith("validation")]
    net = build(job.tree, Catalog.open(None))
    load_model(net, str(tmp_path / "a" / "weights.safetensors"))
    found = evaluate(net, load(few_digits, "test"), load_meta(few_digits), torch.device("cpu"))
    assert found["accuracy"] == outcomes[0].metrics["test_accuracy"]


def _huge(features: int) -> tuple[Tree, ...]:
    wide = _node("Linear", in_features=64, out_features=features)
    return (_node("Flatten"), wide, _node("Linear", in_features=features, out_features=10))


@pytest.mark.parametrize(
    ("tree", "recipe", "gate", "message"),
    [
        (_sequential(_node("Flatten"), _node("Linear", in_features="x", out_features=10)), {}, "build", "TypeError"),
        (_sequential(_node("Flatten"), _node("Linear", in_features=65, out_features=10)), {}, "shape", "64 and 65"),
        (_sequential(_node("Flatten"), _node("Linear", in_features=64, out_features=7)), {}, "shape", r"got.*\(2, 7\)"),
        (_sequential(*_huge(10**10)), {}, "memory", "allocate"),
        (_sequential(*_huge(10**6)), {}, "memory", "allocate"),
        (CONV, {"lr": 1e9, "epochs": 20}, "numerics", "Diverged: the loss is not finite in"),
        (
            _sequential(_node("Flatten"), _node("AdaptiveAvgPool1d", output_size=10)),
            {},
            "numerics",
            "nothing to train",
        ),
    ],
    ids=["build", "shape", "classes", "memory-build", "memory-train", "numerics", "nothing-to-train"],
)
def test_a_failure_is_an_outcome(
    few_digits: Path, tmp_path: Path, tree: Tree, recipe: dict[str, Any], gate: str, message: str
) -> None:
    limits = replace(LONG, memory_gb=0.25)
    outcome = run(_job(few_digits, tree, recipe=recipe), tmp_path / "job", limits)
    assert outcome.gate == gate, outcome.message
    assert re.search(message, outcome.message), outcome.message
    assert run(_job(few_digits, tree, recipe=recipe), tmp_path / "job", limits) == outcome


ENDLESS: dict[str, Any] = {"recipe": {"epochs": 10**6}}


def test_a_time_limit_ends_the_process(few_digits: Path, tmp_path: Path) -> None:
    start = time.monotonic()
    outcome = run(_job(few_digits, **ENDLESS), tmp_path / "job", replace(LONG, seconds=1.5))
    assert (outcome.gate, outcome.message) == ("timeout", "not done after 1.5 s")
    assert time.monotonic() - start < 30
    _until(lambda: not _workers(tmp_path / "job"), 10)


@pytest.mark.parametrize(
    ("number", "gate", "message"),
    [(signal.SIGKILL, "memory", "killed by the system"), (signal.SIGSEGV, "crash", "ended with status 139")],
)
def test_a_killed_worker_is_an_outcome(
    few_digits: Path, tmp_path: Path, number: signal.Signals, gate: str, message: str
) -> None:
    found: list[Outcome] = []
    thread = threading.Thread(
        target=lambda: found.append(run(_job(few_digits, **ENDLESS), tmp_path / "job", LONG)), daemon=True
    )
    thread.start()
    _until(lambda: (tmp_path / "job" / "work" / "checkpoint.pt").exists())
    for pid in _workers(tmp_path / "job"):
        os.kill(pid, number)
    thread.join(30)
    assert found[0].gate == gate
    assert message in found[0].message


START = """
import sys
from pathlib import Path
from llmastool.canonical import read_json
from llmastool.training.job import Job, run
from llmastool.training.recipe import Recipe, TrainingConfig
job = Job.from_json(read_json(Path(sys.argv[1])))
run(job, Path(sys.argv[2]), TrainingConfig(recipe=Recipe(epochs=1), seconds=120, memory_gb=2))
"""


def test_a_job_killed_with_its_parent_goes_on_and_ends_alike(few_digits: Path, tmp_path: Path) -> None:
    job, folder = _job(few_digits, recipe={"epochs": 80}), tmp_path / "broken"
    write_json(tmp_path / "job.json", job.to_json())
    parent = subprocess.Popen(
        [sys.executable, "-c", START, str(tmp_path / "job.json"), str(folder)],
        env={**os.environ, "PYTHONPATH": str(Path(sandbox.__file__).resolve().parent.parent)},
    )
    _until(lambda: (folder / "work" / "checkpoint.pt").exists())
    parent.kill()
    parent.wait()
    _until(lambda: not _workers(folder), 10)
    assert not (folder / "outcome.json").exists()
    resumed = run(job, folder, LONG)
    first = (folder / "log.txt").read_text().split("\n")[0]
    assert first.startswith("epoch ") and not first.startswith("epoch 1 "), first
    whole = run(job, tmp_path / "whole", LONG)
    assert whole.ok, whole.message
    assert _timeless(resumed.metrics) == _timeless(whole.metrics)
    assert [_timeless(e) for e in resumed.curve] == [_timeless(e) for e in whole.curve]


LOOK = """
import os, sys
folder, data = sys.argv[1:]
print(sorted(os.listdir(folder + "/data")), os.listdir(data))
for name in ("job.json", "data/train-images.npy", "work/own"):
    try:
        open(f"{folder}/{name}", "ab").close()
        print(name, "writable")
    except OSError:
        print(name, "closed")
"""


def _laid_out(job: Job, folder: Path) -> list[str]:
    """Lay a job out as `run` does, and return the command that would do it."""
    from llmastool.training.job import _lay_out

    folder.mkdir()
    write_json(folder / "job.json", {"key": job.key, "job": {**job.to_json(), "data": str(folder / "data")}})
    _lay_out(job, folder)
    return process.command(job, folder, LONG)


def test_inside_a_search_job_the_test_split_is_not_there(few_digits: Path, tmp_path: Path) -> None:
    if not sandbox.isolation_works():
        pytest.skip("this machine allows no namespaces")
    seen = {}
    for split in ("validation", "test"):
        folder = tmp_path / split
        argv = _laid_out(_job(few_digits, evaluate_on=split), folder)
        inside = [*argv[: argv.index("--") + 1], sys.executable, "-c", LOOK, str(folder), str(few_digits)]
        done = subprocess.run(inside, env=sandbox.environment(), capture_output=True, text=True, check=True)
        seen[split] = done.stdout.splitlines()
    held = ["meta.json", *files("train"), *files("validation")]
    closed = ["job.json closed", "data/train-images.npy closed", "work/own writable"]
    assert seen["validation"] == [f"{sorted(held)} []", *closed]
    assert seen["test"] == [f"{sorted([*held, *files('test')])} []", *closed]


def test_a_full_disk_is_not_the_networks_fault(few_digits: Path, tmp_path: Path) -> None:
    if not sandbox.isolation_works():
        pytest.skip("this machine allows no namespaces")
    folder = tmp_path / "job"
    argv = _laid_out(_job(few_digits, _sequential(*_huge(2000))), folder)
    at = argv.index("--chdir")
    small = [*argv[:at], "--size", "200000", "--tmpfs", str(folder / "work"), *argv[at:]]
    done = subprocess.run(small, env=sandbox.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == process.UNAVAILABLE
    assert "no space left on the disk" in done.stdout


def test_what_is_missing_or_broken_is_not_the_networks_fault(few_digits: Path, tmp_path: Path) -> None:
    job = _job(few_digits, registry=tmp_path / "none.parquet")
    with pytest.raises(RegistryError, match=r"none\.parquet: no such registry; make it first"):
        run(job, tmp_path / "a", LONG)
    shutil.copytree(few_digits, tmp_path / "data")
    (tmp_path / "data" / "train-images.npy").write_bytes(b"torn")
    with pytest.raises(process.TrainingUnavailable, match=r"training could not be done: .*not a readable array"):
        run(_job(tmp_path / "data"), tmp_path / "b", LONG)
    assert not list(tmp_path.glob("*/outcome.json"))


def test_json_round_trip_and_key(few_digits: Path, digits: Path) -> None:
    job = _job(few_digits, registry=Path("registry.parquet"))
    assert Job.from_json(job.to_json()) == job
    same = [replace(job, device="auto"), replace(job, threads=2), replace(job, registry=None)]
    other = [
        replace(job, seed=1),
        replace(job, data=digits),
        replace(job, evaluate_on="test"),
        replace(job, evaluate_on="test", train_on="train+validation"),
        replace(job, recipe=Recipe(epochs=3)),
        replace(job, tree=_node("Flatten")),
    ]
    assert {j.key for j in same} == {job.key}
    assert len({j.key for j in [job, *other]}) == len(other) + 1


def test_jobs_that_contradict_themselves(few_digits: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="cannot evaluate on it"):
        _job(few_digits, train_on="train+validation")
    with pytest.raises(ConfigError, match="evaluate_on"):
        _job(few_digits, evaluate_on="train")
    with pytest.raises(DataError, match="prepare the data again"):
        run(_job(tmp_path), tmp_path / "job", LONG)


def test_a_job_begins_with_what_its_parent_learned(few_digits: Path, tmp_path: Path) -> None:
    """All but the new last layer is the parent's; with nothing to learn, it stays so to the end."""
    parent = _job(few_digits, keep_weights=True)
    assert run(parent, tmp_path / "parent", LONG).ok
    weights = tmp_path / "parent" / process.WEIGHTS
    child = CONV.with_node("5", _node("Linear", in_features=512, out_features=10, bias=False))
    still = {"lr": 1e-30, "weight_decay": 0.0, "epochs": 1}
    job = _job(
        few_digits, child, recipe=still, keep_weights=True, parent=Parent(tree=CONV, key=parent.key, weights=weights)
    )
    outcome = run(job, tmp_path / "child", LONG)
    assert outcome.ok and outcome.metrics["inherited"] == pytest.approx(96 / (96 + 5120), abs=1e-6)
    before, after = load_file(weights), load_file(tmp_path / "child" / process.WEIGHTS)
    assert torch.equal(before["0.weight"], after["0.weight"])
    assert not torch.equal(before["5.weight"], after["5.weight"])
    fresh = replace(job, parent=None)
    assert job.key != fresh.key and Job.from_json(job.to_json()) == job
    assert run(fresh, tmp_path / "fresh", LONG).metrics.get("inherited") is None


def test_a_parent_without_weights_is_said(few_digits: Path, tmp_path: Path) -> None:
    job = _job(few_digits, parent=Parent(tree=CONV, key="0" * 64, weights=tmp_path / "none"))
    with pytest.raises(process.TrainingUnavailable, match=r"expected the weights of the parent.*training\.inherit"):
        run(job, tmp_path / "job", LONG)
