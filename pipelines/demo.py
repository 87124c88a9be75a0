"""What `make demo` runs: the whole pipeline on its defaults, then where to look.

python -m pipelines.demo
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from flows.server import prefect_server
from llmastool.canonical import Json, read_json, write_atomic
from llmastool.errors import LLMasToolError
from llmastool.params import Params

STAGES_FOUND = ("found", "sliced", "loaded", "built", "forward", "backward", "contract")


def main(argv: Sequence[str] | None = None) -> int:
    """Run all stages that are out of date and say what came of them."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.demo", description=__doc__.splitlines()[0])
    parser.add_argument("-S", "--set-param", action="append", default=[], help="as of `dvc exp run`, e.g. seed=1")
    options = parser.parse_args(argv)
    start = time.monotonic()
    try:
        Params.load("params.yaml")  # what no stage depends on would not be read where all is up to date
        with prefect_server() as server:
            status = _repro(options.set_param)
            if status != 0:
                server.wait()  # where it is the server that failed, this says where to look
    except LLMasToolError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("demo: stopped; what is done is kept. Go on: make demo", file=sys.stderr)
        return 128 + signal.SIGINT
    if status != 0:
        print(f"demo: dvc repro ended with status {status}; what is done is kept. Go on: make demo", file=sys.stderr)
        return status
    print("\n".join(summary(Path("artifacts"), time.monotonic() - start)))
    return 0


def _repro(changes: Sequence[str], params: Path = Path("params.yaml")) -> int:
    """Run `dvc repro`, or `dvc exp run` with changed parameters, as a child that ends with this process.

    Args:
        changes: as `dvc exp run -S` takes them.
        params: the file that they change; it is put back as it was.

    Returns:
        Its exit status.
    """
    if not changes:
        return _dvc([])
    before = params.read_text()
    try:
        return _dvc(changes)
    finally:
        write_atomic(params, before)


def _dvc(changes: Sequence[str]) -> int:
    command = ["exp", "run", *(part for change in changes for part in ("-S", change))] if changes else ["repro"]
    dvc = subprocess.Popen(
        [sys.executable, "-m", "dvc", *command], preexec_fn=_die_with_parent, stdin=subprocess.DEVNULL
    )
    try:
        return dvc.wait()
    except KeyboardInterrupt:
        dvc.wait()  # Ctrl-C reached it too; the stage writes its last words
        raise


def _die_with_parent(prctl: object = ctypes.CDLL(None).prctl) -> None:  # loaded before the fork, where that is safe
    assert callable(prctl)
    prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def summary(artifacts: Path, seconds: float) -> Iterator[str]:
    """Yield the lines that say what came of the pipeline and how to look at it.

    Args:
        artifacts: folder of all stages' outputs.
        seconds: how long it took.
    """
    yield ""
    for source in read_json(artifacts / "registry" / "summary.json")["sources"]:
        yield f"{source['name']}: " + ", ".join(f"{source[k]} {k}" for k in STAGES_FOUND if k in source)
    yield from _search_lines(read_json(artifacts / "search" / "archive.json"))
    yield from _final_lines(read_json(artifacts / "final" / "final.json"))
    yield f"took {seconds:.0f} s"
    yield ""
    yield f"report   {(artifacts / 'report' / 'report.html').resolve()}"
    yield "runs     make mlflow, then http://127.0.0.1:5000"
    yield "again    make demo does only what changed; edit params.yaml, or `.venv/bin/dvc exp run -S search.rounds=5`"


def _search_lines(archive: Mapping[str, Json]) -> Iterator[str]:
    outcomes = [(e["candidate"], e["outcome"]) for e in archive["entries"]]
    trained = [(o["metrics"]["validation_accuracy"], c) for c, o in outcomes if o["gate"] == "ok"]
    fallen: dict[str, int] = {}
    for _, outcome in outcomes:
        if outcome["gate"] != "ok":
            fallen[outcome["gate"]] = fallen.get(outcome["gate"], 0) + 1
    why = ", ".join(f"{count} at {gate}" for gate, count in sorted(fallen.items()))
    yield f"search: {len(outcomes)} candidates, {len(trained)} trained" + (f", fell: {why}" if why else "")
    for label, group in (
        ("start population", [accuracy for accuracy, c in trained if c["plan"] is None]),
        ("all", [accuracy for accuracy, _ in trained]),
    ):
        if group:
            yield f"best validation accuracy, {label}: {max(group):.2f}%"


def _final_lines(final: Mapping[str, Json]) -> Iterator[str]:
    if final["best"] is None:
        yield "final: no network was trained to the end"
        return
    for one in final["finalists"]:
        test = one["test_accuracy"]
        if test and test.get("mean") is not None:
            ended = sum(seed["gate"] == "ok" for seed in test["seeds"])
            seeds = f"over {ended} seed" + ("s" if ended > 1 else "")
            spread = f" ± {test['sd']:.2f}" if test["sd"] is not None else ""
            mark = ", the winner by validation" if one["id"] == final["best"] else ""
            yield f"test accuracy of {one['name']}: {test['mean']:.2f}%{spread} {seeds}{mark}"


if __name__ == "__main__":
    # The stages find this interpreter's programs, whichever shell this was started from.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    sys.exit(main())
