"""Measure the pipeline end to end, in fresh clones, and write `benchmarks/results/spine.json`.

    python -m benchmarks.spine                     all of it, about an hour on 2 cores
    python -m benchmarks.spine demo rerun          some of it; the other figures are kept as they are
    python -m benchmarks.spine cifar --cifar PATH  with the folder of CIFAR-10's parquet files

Every part runs the commands that a user would run, in a clone of the last commit, and reads what they left.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import ROOT, describe
from llmastool.canonical import Json, read_json, read_lines, write_json

RESULTS = ROOT / "benchmarks" / "results" / "spine.json"
MOST_SECONDS = 3600


class Clone:
    """A fresh clone of the last commit, with a virtual environment of its own or a borrowed one."""

    def __init__(self, folder: Path, *, own_environment: bool) -> None:
        self.folder = folder
        if not folder.exists():
            subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        if not own_environment and not (folder / ".venv").exists():
            (folder / ".venv").symlink_to(ROOT / ".venv")

    def run(self, *argv: str, **extra: str) -> tuple[float, str]:
        """Run a command to its end; return its seconds and what it printed.

        Raises:
            RuntimeError: it failed.
        """
        started = time.monotonic()
        done = self.start(*argv, **extra)
        try:
            out, _ = done.communicate(timeout=MOST_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(done.pid, signal.SIGKILL)
            raise
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}:\n{out[-4000:]}")
        return round(time.monotonic() - started, 1), out.replace(str(self.folder), ".")

    def start(self, *argv: str, **extra: str) -> subprocess.Popen[str]:
        """Start a command in the clone, in a process group of its own."""
        path = f"{self.folder / '.venv' / 'bin'}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(self.folder), "CI": "true", **extra}
        environment.pop("VIRTUAL_ENV", None)
        return subprocess.Popen(
            argv,
            cwd=self.folder,
            env=environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def read(self, name: str) -> Json:
        """Read a JSON file of the clone's artifacts."""
        return read_json(self.folder / "artifacts" / name)


def demo(work: Path, _: argparse.Namespace) -> Json:
    """`make demo` on a fresh clone and an empty environment, and what it left."""
    clone = Clone(work / "demo", own_environment=True)
    setup, _out = clone.run("make", "setup")
    seconds, out = clone.run("make", "demo")
    archive, final = clone.read("search/archive.json"), clone.read("final/final.json")
    return {
        "setup_seconds": setup,
        "demo_seconds": seconds,
        "says": out.strip().splitlines()[-12:],
        "funnel": clone.read("registry/summary.json")["sources"],
        "families": clone.read("registry/summary.json")["families"],
        "search": _search_figures(archive),
        "final": final["finalists"],
    }


def _search_figures(archive: Json) -> Json:
    entries = archive["entries"]
    gates = Counter(e["outcome"]["gate"] for e in entries)
    pool: Counter[str] = Counter()
    for report in archive["planner_reports"]:
        pool.update(report["pool"])
    looked = sum(pool.values()) - pool["seen"]
    start = [e for e in entries if e["candidate"]["round"] == 0]
    best = max(
        (e for e in entries if e["outcome"]["gate"] == "ok"),
        key=lambda e: e["outcome"]["metrics"]["validation_accuracy"],
    )
    return {
        "seed": archive["seed"],
        "candidates": len(entries),
        "rounds": archive["rounds"],
        "outcomes_by_gate": dict(gates),
        "share_trained": gates["ok"] / len(entries),
        "edits_looked_at": looked,
        "edits_by_gate": dict(pool),
        "share_of_edits_that_hold": pool["ok"] / looked if looked else None,
        "start_validation_accuracy": {
            e["candidate"]["change"]: e["outcome"]["metrics"].get("validation_accuracy") for e in start
        },
        "best_validation_accuracy": best["outcome"]["metrics"]["validation_accuracy"],
        "best": best["candidate"]["change"],
        "fingerprint": archive["fingerprint"],
    }


def tests(work: Path, _: argparse.Namespace) -> Json:
    """`make test` on a fresh clone, its environment set up."""
    clone = Clone(work / "demo", own_environment=True)
    clone.run("make", "setup")
    seconds, out = clone.run("make", "test")
    return {"test_seconds": seconds, "says": out.strip().splitlines()[-1]}


def rerun(work: Path, _: argparse.Namespace) -> Json:
    """What DVC does after the demo: nothing the second time, experiments, metrics, plots."""
    clone = Clone(work / "demo", own_environment=True)
    second, out = clone.run("dvc", "repro")
    nothing = "up to date" in out and "Running stage" not in out
    experiment, _out = clone.run("dvc", "exp", "run", "-S", "search.rounds=1")
    rounds = clone.read("search/archive.json")["rounds"]
    metrics = clone.run("dvc", "metrics", "show", "--json")[1]
    plots = clone.run("dvc", "plots", "show")[1]
    clone.run("git", "checkout", "--quiet", "--", ".")
    return {
        "second_repro_seconds": second,
        "second_repro_does_nothing": nothing,
        "experiment_seconds": experiment,
        "experiment_rounds": rounds,
        "metrics_show": sorted(json.loads(metrics[metrics.index("{") :])[""]["data"]),
        "plots_show": plots.strip().splitlines()[-1],
    }


def resume(work: Path, _: argparse.Namespace) -> Json:
    """The same search twice, and once killed after round 1 and started again: three equal archives."""
    clone = Clone(work / "resume", own_environment=False)
    clone.run("dvc", "repro", "prepare", "registry")
    search = (sys.executable, "-m", "pipelines.stage", "search")
    fingerprints = []
    for _turn in range(2):
        shutil.rmtree(clone.folder / "runs", ignore_errors=True)
        clone.run(*search)
        fingerprints.append(clone.read("search/archive.json")["fingerprint"])
    shutil.rmtree(clone.folder / "runs")
    process = clone.start(*search)
    told = _wait_for_round(clone.folder / "runs", 2, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    seconds, _out = clone.run(*search)
    fingerprints.append(clone.read("search/archive.json")["fingerprint"])
    return {
        "first": fingerprints[0],
        "again": fingerprints[1],
        "killed_and_resumed": fingerprints[2],
        "equal": len(set(fingerprints)) == 1,
        "outcomes_known_when_killed": told,
        "resume_seconds": seconds,
    }


def _wait_for_round(runs: Path, number: int, process: subprocess.Popen[str]) -> int:
    """Wait until a search has asked for a round; return how many outcomes it knows by then."""
    deadline = time.monotonic() + MOST_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        events = [e for log in runs.glob("*/events.jsonl") for e in read_lines(log)]
        if sum(e["event"] == "asked" for e in events) > number:
            return sum(e["event"] == "told" for e in events)
        time.sleep(0.5)
    raise RuntimeError(f"the search ended before round {number}")


EXPORT_CHECK = """
import sys, torch
sys.path.insert(0, sys.argv[1])
import best
given = torch.load(sys.argv[2])
net = best.build_model()
net.load_state_dict(given["weights"])
with torch.no_grad():
    out = net.eval()(given["x"])
print(len(sys.modules.get("llmastool", [])) if "llmastool" in sys.modules else "alone", torch.equal(out, given["out"]))
"""


def exported(work: Path, _: argparse.Namespace) -> Json:
    """The exported winner in a venv that has only torch and torchvision, against the built tree, to the last bit."""
    import torch
    from safetensors.torch import load_file

    from llmastool.trees.build import build
    from llmastool.trees.catalog import Catalog
    from llmastool.trees.tree import Tree

    artifacts = work / "demo" / "artifacts"
    tree = Tree.from_json(read_json(artifacts / "final" / "best.json"))
    net = build(tree, Catalog.open(artifacts / "registry"))
    weights = load_file(artifacts / "final" / "weights.safetensors")
    net.load_state_dict(weights)
    shape = read_json(artifacts / "prepare" / "meta.json")["shape"]
    x = torch.randn((8, *shape), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.save({"x": x, "out": net.eval()(x), "weights": weights}, work / "given.pt")
    bare = work / "bare"
    if not bare.exists():
        base = Path(sys.base_prefix) / "bin" / "python3"
        subprocess.run([str(base), "-m", "venv", str(bare)], check=True)
        pins = [
            line
            for line in (ROOT / "requirements.lock").read_text().splitlines()
            if line.startswith(("torch==", "torchvision=="))
        ]
        subprocess.run([str(bare / "bin" / "pip"), "install", "--quiet", *pins], check=True)
    argv = [str(bare / "bin" / "python"), "-I", "-c", EXPORT_CHECK, str(artifacts / "final"), str(work / "given.pt")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=work)
    lines = len((artifacts / "final" / "best.py").read_text().splitlines())
    return {"runs_alone": "alone" in done.stdout, "equal_to_the_last_bit": "True" in done.stdout, "lines": lines}


def cifar(work: Path, options: argparse.Namespace) -> Json:
    """The same pipeline on 10,000 images of CIFAR-10, by overrides alone."""
    if options.cifar is None:
        raise SystemExit("cifar: name the folder of CIFAR-10's parquet files with --cifar or LLMASTOOL_CIFAR10")
    clone = Clone(work / "cifar", own_environment=False)
    overrides = [
        "data.name=cifar10",
        f"data.path={options.cifar.resolve()}",
        "data.limit=10000",
        "recipes.quick.epochs=3",
        "training.seconds=600",
        "search.rounds=1",
        "search.per_round=4",
        "final.top=1",
        "final.epochs=3",
    ]
    seconds, _out = clone.run("dvc", "exp", "run", *[a for o in overrides for a in ("-S", o)])
    return {
        "overrides": [o for o in overrides if not o.startswith("data.path")],
        "seconds": seconds,
        "counts": clone.read("prepare/meta.json")["counts"],
        "search": _search_figures(clone.read("search/archive.json")),
        "final": clone.read("final/final.json")["finalists"],
    }


PARTS: dict[str, Callable[[Path, argparse.Namespace], Json]] = {
    "demo": demo,
    "tests": tests,
    "exported": exported,
    "rerun": rerun,
    "resume": resume,
    "cifar": cifar,
}


def main() -> None:
    """Measure the parts that are named, all by default, and keep each as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"which of {', '.join(PARTS)}; all by default")
    work = Path(tempfile.gettempdir()) / "llmastool-spine"
    parser.add_argument("--work", type=Path, default=work, help="folder for the clones")
    given = os.environ.get("LLMASTOOL_CIFAR10")
    parser.add_argument("--cifar", type=Path, default=given and Path(given), help="CIFAR-10 as image parquet")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    results = read_json(RESULTS) if RESULTS.exists() else {}
    for name in options.parts or PARTS:
        print(f"{name} ...", flush=True)
        results[name] = {**PARTS[name](options.work, options), "machine": describe()}
        write_json(RESULTS, results)
        print(json.dumps({k: v for k, v in results[name].items() if k != "machine"}, indent=1)[:3000], flush=True)


if __name__ == "__main__":
    main()
