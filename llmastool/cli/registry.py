"""`llmastool registry`: build a registry of modules, and look into it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from llmastool.cli.options import add_folder, add_json, count

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmastool.registry.unbuilt import Proposes

_FUNNEL = ("found", "sliced", "loaded", "built", "forward", "backward", "contract")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its own commands."""
    parser = commands.add_parser("registry", help="build and look into the registry of modules")
    inner = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_build(inner)
    _add_ls(inner)
    show = _reader(inner, "show", run_show, "show one module: provenance, signature, contract and sliced source")
    show.add_argument("module", metavar="ID-OR-NAME", help="its id, its qualified name, or the end of that")
    _add_find(inner)


def _add_build(inner: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "Probe what was mined in the sandbox, and register what runs. What did not change is not probed again."
    parser = inner.add_parser("build", help="probe what was mined and register what runs", description=about)
    add_folder(parser, "--mined", "artifacts/mine", "what was mined")
    add_folder(parser, "--out", "artifacts/registry", "folder to write to")
    cache = Path("runs/probes.jsonl")
    parser.add_argument("--cache", type=Path, default=cache, metavar="FILE", help="results so far (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="probes at once (%(default)s)")
    parser.add_argument("--seconds", type=float, default=30.0, metavar="S", help="time for one (%(default)s)")
    parser.add_argument("--memory-gb", type=float, default=0.8, metavar="G", help="memory of one, GiB (%(default)s)")
    asked = "have this model of an OpenAI-compatible endpoint (OPENAI_API_KEY, OPENAI_BASE_URL) propose arguments"
    parser.add_argument("--model", metavar="NAME", help=f"{asked} for modules that could not be built")
    add_json(parser)
    parser.set_defaults(run=run_build)


def _add_ls(inner: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _reader(inner, "ls", run_ls, "list modules")
    parser.add_argument("--family", metavar="FAMILY", help="only modules of this family")
    parser.add_argument("--source", metavar="NAME", help="only modules of this source")
    parser.add_argument("--stage", metavar="STAGE", help="only those that fell at this stage; ok: that fell nowhere")
    parser.add_argument("--failed", action="store_true", help="only those that fell, with the reason")
    parser.add_argument("--distinct", action="store_true", help="of those that are the same, only one")
    parser.add_argument("--limit", type=count, metavar="N", help="at most so many")


def _add_find(inner: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _reader(inner, "find", run_find, "find modules that map one shape to another, and their arguments")
    parser.add_argument("--in", dest="in_shape", required=True, metavar="SHAPE", help="such as 2,64,16,16, batch first")
    parser.add_argument("--out", dest="out_shape", required=True, metavar="SHAPE", help="such as 2,128,8,8")
    parser.add_argument("--layout", metavar="LAYOUT", help="of the input, such as NCHW, NHWC, BNC or BC")
    parser.add_argument("--family", metavar="FAMILY", help="only modules of this family")
    parser.add_argument("--all", action="store_true", help="those that take or return more than one tensor, too")
    parser.add_argument("--limit", type=count, metavar="N", help="at most so many")


def _reader(
    inner: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], None],
    purpose: str,
) -> argparse.ArgumentParser:
    parser = inner.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
    add_folder(parser, "--registry", "artifacts/registry", "the registry")
    add_json(parser)
    parser.set_defaults(run=run)
    return parser


def run_build(arguments: argparse.Namespace) -> None:
    """Run `registry build`.

    Raises:
        RegistryError: nothing was mined.
        SandboxError: the sandbox cannot be set up.
        ConfigError: a model is named, but neither a key nor an endpoint is set.
    """
    from llmastool.cli.output import as_json, columns
    from llmastool.errors import RegistryError
    from llmastool.registry.incremental import build
    from llmastool.registry.pool import ProbeConfig
    from llmastool.registry.register import tenths
    from llmastool.runs import only_writer

    if not (arguments.mined / "bundles.jsonl").is_file():
        raise RegistryError(f"{arguments.mined}: expected what was mined, found none; run `llmastool mine` first")
    config = ProbeConfig(workers=arguments.workers, seconds=arguments.seconds, memory_gb=arguments.memory_gb)
    proposer = _proposer(arguments.model, arguments.cache) if arguments.model is not None else None
    with only_writer(arguments.out):
        summary = build(arguments.mined, arguments.out, config, arguments.cache, tenths(_say), proposer)
    if arguments.json:
        as_json(summary)
        return
    columns(
        [[s["name"], *(s.get(k) for k in _FUNNEL)] for s in summary["sources"]], ("SOURCE", *map(str.upper, _FUNNEL))
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _proposer(model: str, cache: Path) -> Proposes | None:
    from llmastool.filler.choose import make_proposer
    from llmastool.filler.config import FillerConfig

    return make_proposer(FillerConfig(kind="openai", model=model), cache.with_name("proposed.jsonl"))


def run_ls(arguments: argparse.Namespace) -> None:
    """Run `registry ls`.

    Raises:
        RegistryError: there is no registry, or nothing in it of what is asked for.
    """
    from llmastool.cli.output import as_json, columns
    from llmastool.registry.query import Table

    table = Table(arguments.registry)
    frame = table.select(arguments.family, arguments.source, arguments.stage, arguments.failed, arguments.distinct)
    shown = frame.head(arguments.limit) if arguments.limit is not None else frame
    if arguments.json:
        as_json(shown.drop("contracts", "behaviour").to_dicts())
        return
    rows = shown.to_dicts()
    if arguments.failed:
        failures = [[r["name"], f"{r['source']} {r['version'][:12]}", r["stage"], r["message"]] for r in rows]
        columns(failures, ("NAME", "SOURCE", "STAGE", "REASON"))
    else:
        found = [
            [
                r["name"],
                r["family"],
                r["layouts"],
                r["parameters"],
                r["flops"],
                r["stage"],
                f"{r['source']} {r['version'][:12]}",
            ]
            for r in rows
        ]
        columns(found, ("NAME", "FAMILY", "TAKES", "PARAMETERS", "FLOPS", "STAGE", "SOURCE"))
    print(_counted(shown.height, frame.height))


def run_show(arguments: argparse.Namespace) -> None:
    """Run `registry show`.

    Raises:
        RegistryError: there is no registry, or not one module of that name.
    """
    from llmastool.cli.module import as_text, as_value
    from llmastool.cli.output import as_json, clean
    from llmastool.registry.query import Table

    table = Table(arguments.registry)
    row = table.get(arguments.module)
    bundle, same = table.bundle(row["module"]), table.same_as(row["module"])
    if arguments.json:
        as_json(as_value(row, bundle, same))
    else:
        print(clean("\n".join(as_text(row, bundle, same))))


def run_find(arguments: argparse.Namespace) -> None:
    """Run `registry find`.

    Raises:
        RegistryError: there is no registry, a shape is none, or the registry has no such family.
    """
    from llmastool.cli.output import as_json, columns
    from llmastool.registry.query import Table, shape_of
    from llmastool.registry.words import arguments as written

    shapes = shape_of(arguments.in_shape), shape_of(arguments.out_shape)
    fits = Table(arguments.registry).find(*shapes, arguments.layout, arguments.family, plain=not arguments.all)
    shown = fits[: arguments.limit]
    if arguments.json:
        keys = ("module", "name", "family", "source", "version")
        layouts = [{"layout_in": f.contract.layout_in, "layout_out": f.contract.layout_out} for f in shown]
        costs = [{"parameters": f.contract.parameters, "flops": f.contract.flops, "args": f.args} for f in shown]
        as_json([{k: f.row[k] for k in keys} | a | b for f, a, b in zip(shown, layouts, costs, strict=True)])
        return
    rows = [
        [
            f.row["name"],
            f.row["family"],
            f"{f.contract.layout_in} -> {f.contract.layout_out}",
            f.contract.parameters,
            written(f.args),
        ]
        for f in shown
    ]
    if not fits:
        print("no module is known to map one of these shapes to the other; both are batch first, with equal batches")
        return
    columns(rows, ("NAME", "FAMILY", "LAYOUT", "PARAMETERS*", "ARGUMENTS"))
    print(_counted(len(shown), len(fits)))
    print("* at the shape at which it was probed")


def _counted(shown: int, of: int) -> str:
    return f"{shown} of {of} modules" if shown < of else f"{of} module{'s' if of != 1 else ''}"
