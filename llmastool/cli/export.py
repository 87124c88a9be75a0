"""`llmastool export`: the winner, or any network, as files that need nothing of this project."""

from __future__ import annotations

import argparse
from pathlib import Path

from llmastool.cli import tree
from llmastool.cli.options import add_folder, add_json, count
from llmastool.errors import TreeError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "export",
        help="write the winner as plain PyTorch",
        description="Write the winner of the final stage with its weights, or another network, as plain PyTorch and as "
        "a program that torch.export reads.",
        epilog=tree.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("tree", nargs="?", metavar="TREE", help="see below (the winner)")
    add_folder(parser, "--final", "artifacts/final", "folder of the final stage")
    add_folder(parser, "--data", "artifacts/prepare", "the prepared image set, which says the shape of an image")
    add_folder(parser, "--registry", "artifacts/registry", "the registry")
    add_folder(parser, "--out", "exported", "folder to write to")
    parser.add_argument("--shape", metavar="SHAPE", help="of an input, batch first (that of the image set)")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="trained ones, safetensors (the winner's; else fresh)"
    )
    parser.add_argument("--seed", type=count, default=0, help="of fresh weights (%(default)s)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Run `llmastool export`.

    Raises:
        TreeError: there is no such tree, no winner, it cannot be built, or the weights are not its.
        RegistryError: the registry is missing, or lacks a module of the tree.
    """
    from llmastool.canonical import read_json
    from llmastool.training.data import META

    if arguments.tree is None:
        winner, weights = arguments.final / "best.json", arguments.final / "weights.safetensors"
        if not winner.is_file():
            raise TreeError(
                f"{winner}: expected the winner of the final stage, found no file; name a tree, or run "
                "`llmastool final` first"
            )
        arguments.tree = str(winner)
        if arguments.weights is None and weights.is_file():
            arguments.weights = weights
    meta = arguments.data / META
    if arguments.shape is None and meta.is_file():
        arguments.shape = ",".join(map(str, (1, *read_json(meta)["shape"])))
    tree.run_export(arguments)
