"""`llmastool prepare`, `final`, `report`: the other stages without a workflow engine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from llmastool.cli.options import add_folder, add_params
from llmastool.cli.output import leave

if TYPE_CHECKING:
    from llmastool.canonical import Json
    from llmastool.params import Params


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    parser = commands.add_parser(
        "prepare",
        help="prepare the image set",
        description="Read the image set of data.path, sample it, split it, and write it as trainings read it.",
    )
    add_params(parser)
    add_folder(parser, "--out", "artifacts/prepare", "folder to write to")
    parser.set_defaults(run=prepare)
    parser = commands.add_parser(
        "final",
        help="train the best again and test them",
        description="Train the best networks of a search again, over several seeds, and read the test split for the "
        "first time.",
    )
    add_params(parser)
    add_folder(parser, "--data", "artifacts/prepare", "the prepared image set")
    add_folder(parser, "--registry", "artifacts/registry", "the registry")
    add_folder(parser, "--search", "artifacts/search", "folder of the archive")
    add_folder(parser, "--out", "artifacts/final", "folder to write to")
    add_folder(parser, "--runs", "runs", "folder of all run folders")
    parser.set_defaults(run=final)
    parser = commands.add_parser(
        "report",
        help="write one page about a search",
        description="Write one page about a search and its final stage. It needs no network.",
    )
    add_folder(parser, "--search", "artifacts/search", "folder of the archive")
    add_folder(parser, "--final", "artifacts/final", "folder of the final stage")
    add_folder(parser, "--registry", "artifacts/registry", "the registry")
    add_folder(parser, "--out", "artifacts/report", "folder to write to")
    parser.set_defaults(run=report)


def prepare(arguments: argparse.Namespace) -> None:
    """Run `llmastool prepare`.

    Raises:
        DataError: the image set is missing, broken or unfit.
    """
    from llmastool.params import Params
    from llmastool.training.data import summary

    print(summary(write_prepared(Params.load(arguments.params), arguments.out)))


def write_prepared(params: Params, out: Path) -> dict[str, Json]:
    """Write the prepared image set into a folder that nobody else writes, and return its meta.

    Raises:
        DataError: the image set is missing, broken or unfit.
        Locked: another process writes the folder.
    """
    from llmastool.runs import only_writer
    from llmastool.training.data import prepare
    from llmastool.training.images.cache import CACHE

    with only_writer(out):
        return prepare(params.data, out, params.seed, CACHE)


def final(arguments: argparse.Namespace) -> None:
    """Run `llmastool final`.

    Raises:
        DataError: there is no archive, or no candidate in it was trained to the end.
    """
    from llmastool.final import by_network, final_trainings, finalists, summary, write
    from llmastool.params import Params
    from llmastool.runs import only_writer, run_folder
    from llmastool.trainings import train_all

    params = Params.load(arguments.params)
    run = run_folder(arguments.runs, params, arguments.data, arguments.registry)
    archive = arguments.search / "archive.json"
    with only_writer(arguments.out), only_writer(run):
        best = finalists(archive, params.final)
        trainings = final_trainings(best, params, arguments.registry, arguments.data, run)
        try:
            outcomes = train_all([(t.job, t.folder) for t in trainings], params.training)
        except KeyboardInterrupt:
            leave("llmastool: stopped; what is done is kept, the same command goes on")
        results = by_network(best, trainings, outcomes)
        metrics = write(arguments.out, archive, results, arguments.registry, arguments.data)
    print(summary(metrics))


def report(arguments: argparse.Namespace) -> None:
    """Run `llmastool report`.

    Raises:
        DataError: the archive or the final stage's results are missing.
    """
    from llmastool.report import write_report
    from llmastool.runs import only_writer

    with only_writer(arguments.out):
        write_report(arguments.search, arguments.final, arguments.registry, arguments.out)
    print(arguments.out / "report.html")
