"""`llmastool search`, `llmastool resume`: a search without a workflow engine; `dvc repro search` does it with one."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from llmastool.cli.options import add_folder, add_params
from llmastool.cli.output import leave
from llmastool.cli.stages import write_prepared
from llmastool.errors import DataError, LLMasToolError

if TYPE_CHECKING:
    from llmastool.cli.live import Live
    from llmastool.params import Params
    from llmastool.search import Search

INVOCATION = "invocation.json"
"""File in a run folder with all that `resume` needs."""


class ResumeError(LLMasToolError):
    """There is nothing to go on with."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    parser = commands.add_parser(
        "search",
        help="search for networks",
        description="Search for networks. Stopped at any moment, the same command goes on. On a terminal it is shown "
        "live.",
    )
    add_params(parser)
    add_folder(parser, "--data", "artifacts/prepare", "the prepared image set; made where it is missing")
    add_folder(parser, "--registry", "artifacts/registry", "the registry")
    add_folder(parser, "--out", "artifacts/search", "folder of the archive")
    add_folder(parser, "--runs", "runs", "folder of all run folders")
    parser.set_defaults(run=search)
    parser = commands.add_parser(
        "resume",
        help="go on with a search",
        description="Go on with a search, with the parameters that it was begun with, whatever params.yaml says now.",
    )
    parser.add_argument("folder", nargs="?", type=Path, metavar="RUN", help="its run folder (the last one of --runs)")
    add_folder(parser, "--runs", "runs", "folder of all run folders")
    parser.set_defaults(run=resume)


def search(arguments: argparse.Namespace) -> None:
    """Run `llmastool search`.

    Raises:
        DataError: the prepared images are others than the parameters ask for.
        LLMasToolError: parameters, data or registry are missing or wrong.
    """
    from llmastool.params import Params
    from llmastool.training.data import META, asked, load_meta

    params = Params.load(arguments.params)
    if not (arguments.data / META).exists():
        print(f"preparing {params.data.name} ...", file=sys.stderr)
        write_prepared(params, arguments.data)
    elif load_meta(arguments.data).get("asked") != asked(params.data, params.seed):
        raise DataError(
            f"{arguments.data}: expected images as {arguments.params} asks for them, found others "
            "(another set, share, limit or seed); make them with `llmastool prepare`"
        )
    _search(params, arguments.data, arguments.registry, arguments.out, arguments.runs)


def resume(arguments: argparse.Namespace) -> None:
    """Run `llmastool resume`.

    Raises:
        ResumeError: there is no such run, or it was begun with other images, another registry or another version.
    """
    from llmastool.canonical import read_json
    from llmastool.config import from_mapping
    from llmastool.params import Params
    from llmastool.runs import run_folder

    folder = arguments.folder or _last(arguments.runs)
    kept = folder / INVOCATION
    if not kept.is_file():
        raise ResumeError(f"{folder}: expected the run folder of a search ({INVOCATION} in it), found none")
    value = read_json(kept)
    params = from_mapping(Params, value["params"], "params")
    data, registry, out = (Path(value[name]) for name in ("data", "registry", "out"))
    if run_folder(folder.parent, params, data, registry) != folder:
        raise ResumeError(
            f"{folder}: was begun with other images in {data}, another registry in {registry}, or by another version; "
            "bring them back, or begin a search with `llmastool search`"
        )
    _search(params, data, registry, out, folder.parent)


def _last(runs: Path) -> Path:
    found = sorted(runs.glob(f"*/{INVOCATION}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ResumeError(f"{runs}: expected the run folder of a search, found none; begin one with `llmastool search`")
    return found[-1].parent


def _search(params: Params, data: Path, registry: Path, out: Path, runs: Path) -> None:
    from llmastool.canonical import read_json, write_json
    from llmastool.cli.live import Live
    from llmastool.runs import only_writer, run_folder
    from llmastool.search import Search

    run = run_folder(runs, params, data, registry)
    paths = {name: str(path.resolve()) for name, path in (("data", data), ("registry", registry), ("out", out))}
    write_json(run / INVOCATION, {"params": asdict(params), **paths})
    print(f"run folder {run}", file=sys.stderr)
    with only_writer(out), only_writer(run), Search.open(params, registry, data, run) as state:
        live = Live(state)
        try:
            with live.shown():
                _rounds(state, live)
        except KeyboardInterrupt:
            leave("llmastool: stopped; what is done is kept, `llmastool resume` goes on")
        state.write(out)
    metrics = read_json(out / "metrics.json")
    best = metrics["best_accuracy"]
    found = f"best validation accuracy {best:.2f} %" if best is not None else "none was trained to the end"
    print(f"{metrics['candidates']} candidates, {found}; {out / 'archive.json'}")


def _rounds(state: Search, live: Live) -> None:
    from llmastool.trainings import train_all

    def beside() -> None:
        state.prepare()
        if state.ahead is not None:
            live.doing(f"planning round {state.ahead} ahead")
            state.ask_ahead()
            live.doing("")

    shown = -1
    while not state.done:
        live.doing("planning the next round")
        if state.round != shown and not sys.stdout.isatty() and shown >= 0:
            print(live.line(), flush=True)
        shown = state.round
        asked = state.ask()
        live.asked(asked)
        jobs = [(state.job(candidate), state.trial_folder(candidate)) for candidate in asked]
        ended = train_all(jobs, state.params.training, begins=live.begins, ends=live.ends, meanwhile=beside)
        state.tell(ended)
    live.doing("")
    if not sys.stdout.isatty():
        print(live.line(), flush=True)
