"""`llmastool tree`: look at a network, compare two, write one out."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from llmastool.cli.options import add_folder, add_json, count
from llmastool.errors import TreeError

if TYPE_CHECKING:
    from llmastool.mining.bundle import Bundle
    from llmastool.trees.profile import Profile
    from llmastool.trees.tree import Tree

EPILOG = """
trees:
  FILE              a tree as JSON, such as artifacts/final/best.json
  FILE:CANDIDATE    one of an archive, by the start of its name or id, such as artifacts/search/archive.json:r02-05

example:
  llmastool tree diff artifacts/search/archive.json:r00-00 artifacts/search/archive.json:r02-05
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "tree", help="look at networks", description="Look at a network, compare two, write one out."
    )
    inner = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, run, purpose in (
        ("show", run_show, "list a network's slots with shapes, costs and origin"),
        ("summary", run_summary, "say in a few lines what a network is made of"),
        ("diff", run_diff, "say what differs between two trees"),
        ("export", run_export, "write a network as plain PyTorch, as a program, and its weights"),
    ):
        command = inner.add_parser(
            name,
            help=purpose,
            description=f"{purpose[0].upper()}{purpose[1:]}.",
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument("tree", metavar="TREE", help="see below")
        if name == "diff":
            command.add_argument("other", metavar="TREE", help="the tree to compare it with")
        else:
            add_folder(command, "--registry", "artifacts/registry", "the registry")
            command.add_argument("--shape", metavar="SHAPE", help="of an input, batch first; that of an archive's data")
        if name == "export":
            command.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to write")
            command.add_argument("--weights", type=Path, metavar="FILE", help="trained ones, safetensors; else fresh")
            command.add_argument("--seed", type=count, default=0, help="of fresh weights (%(default)s)")
        if name == "show":
            command.add_argument("--depth", type=count, metavar="N", help="so many levels only")
        add_json(command)
        command.set_defaults(run=run)


def run_show(arguments: argparse.Namespace) -> None:
    """Run `tree show`.

    Raises:
        TreeError: there is no such tree, or it cannot be built.
        RegistryError: the registry is missing, or lacks a module of the tree.
    """
    from llmastool.cli.output import as_json, clean, columns
    from llmastool.trees.text import lines

    _, profile, bundles = _looked_at(arguments)
    found = lines(profile, bundles, arguments.depth)
    if arguments.json:
        as_json([asdict(line) for line in found])
        return
    rows = [
        [
            f"{'  ' * line.depth}{line.path}",
            clean(line.module)[:72],
            "x".join(map(str, line.out_shape[1:])) if line.out_shape else "several",
            line.parameters,
            line.flops,
            line.origin,
        ]
        for line in found
    ]
    columns(rows, ("SLOT", "MODULE", "GIVES", "PARAMETERS", "FLOPS", "FROM"))
    print(_total(profile))


def run_summary(arguments: argparse.Namespace) -> None:
    """Run `tree summary`.

    Raises:
        TreeError: there is no such tree, or it cannot be built.
        RegistryError: the registry is missing, or lacks a module of the tree.
    """
    from collections import Counter

    from llmastool.cli.output import as_json
    from llmastool.trees.text import origin

    tree, profile, bundles = _looked_at(arguments)
    families = Counter(slot.family for slot in profile.slots if slot.leaf)
    sources = sorted({o for s in profile.slots if (o := origin(s.module, bundles))})
    if arguments.json:
        costs = {k: getattr(profile, k) for k in ("in_shape", "out_shape", "parameters", "flops", "depth")}
        as_json({"id": tree.id, **costs, "families": dict(sorted(families.items())), "sources": sources})
        return
    print(f"tree      {tree.id}")
    print(_total(profile))
    print(f"layers    {', '.join(f'{n} {family}' for family, n in families.most_common())}")
    for source in sources:
        print(f"mined     {source}")


def run_diff(arguments: argparse.Namespace) -> None:
    """Run `tree diff`.

    Raises:
        TreeError: there is no such tree.
    """
    from llmastool.cli.output import as_json, clean
    from llmastool.trees.text import diff

    found = diff(_read(arguments.tree)[0], _read(arguments.other)[0])
    if arguments.json:
        as_json(found)
        return
    print(clean("\n".join(found)) if found else "the trees are the same")


def run_export(arguments: argparse.Namespace) -> None:
    """Run `tree export`.

    Raises:
        TreeError: there is no such tree, it cannot be built, or the weights are not its.
        RegistryError: the registry is missing, or lacks a module of the tree.
    """
    from llmastool.cli.output import as_json
    from llmastool.registry.store import Registry
    from llmastool.workbench.export import write

    tree, shape = _with_shape(arguments)
    bundles = Registry.open(arguments.registry).bundles
    written = write(
        tree, bundles, arguments.registry, shape, arguments.out, seed=arguments.seed, weights=arguments.weights
    )
    if arguments.json:
        as_json(written)
        return
    for name, what in written.items():
        print(f"{arguments.out / name}  {what}" if not what.startswith("not ") else f"{name} is {what}")


def _total(profile: Profile) -> str:
    shapes = " -> ".join("x".join(map(str, shape[1:])) for shape in (profile.in_shape, profile.out_shape))
    return f"{shapes}, {profile.parameters:,} parameters, {profile.flops:,} multiply-adds, depth {profile.depth}"


def _looked_at(arguments: argparse.Namespace) -> tuple[Tree, Profile, Mapping[str, Bundle]]:
    """Return a tree, its profile, and the mined modules by id."""
    from llmastool.registry.store import Registry
    from llmastool.workbench.client import Workbench

    tree, shape = _with_shape(arguments)
    bundles = Registry.open(arguments.registry).bundles
    with Workbench(arguments.registry, shape) as bench:
        return tree, bench.look(tree), bundles


def _with_shape(arguments: argparse.Namespace) -> tuple[Tree, tuple[int, ...]]:
    """Return a tree, and the shape of its input with a batch that can be trained on."""
    from llmastool.registry.query import shape_of
    from llmastool.trees.profile import BATCH

    tree, data_shape = _read(arguments.tree)
    shape = shape_of(arguments.shape) if arguments.shape is not None else data_shape
    if shape is None:
        raise TreeError(f"{arguments.tree}: expected the shape of an input as well; give --shape, such as 2,3,32,32")
    return tree, (max(shape[0], BATCH), *shape[1:])


def _read(name: str) -> tuple[Tree, tuple[int, ...] | None]:
    """Return a tree, and the shape of the data that it was made for where that is known."""
    from llmastool.canonical import read_json
    from llmastool.trees.tree import Tree

    path, _, candidate = (name, "", "") if Path(name).exists() else name.rpartition(":")
    file = Path(path or name)
    if not file.is_file():
        raise TreeError(f"{name}: expected a file with a tree, or FILE:CANDIDATE, found no file {file}")
    try:
        content = read_json(file)
    except (ValueError, RecursionError) as error:
        raise TreeError(f"{file}: expected JSON, got something else: {error}") from None
    if not isinstance(content, dict) or "entries" not in content:
        return Tree.from_json(content), None
    named = {_name(e["candidate"]): e["candidate"] for e in content["entries"]}
    chosen = [c for n, c in named.items() if n.startswith(candidate) or c["id"].startswith(candidate)]
    if not candidate or len(chosen) != 1:
        known = ", ".join(sorted(named)[:8])
        raise TreeError(f"{name}: expected one candidate, as in {file}:r00-00, found {len(chosen)}; there are {known}")
    return Tree.from_json(chosen[0]["tree"]), (1, *content["data"]["shape"])


def _name(candidate: dict[str, object]) -> str:
    from llmastool.candidate import Candidate

    return Candidate.from_json(candidate).name
