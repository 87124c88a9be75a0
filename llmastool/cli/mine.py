"""`llmastool mine`: fetch sources and cut their module classes out."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from llmastool.cli.options import add_folder, add_json
from llmastool.errors import ConfigError

if TYPE_CHECKING:
    from llmastool.mining.sources import SourceSpec

_FORMS = "installed:NAME, path:FOLDER, pypi:NAME==VERSION or git:URL@COMMIT"

_EPILOG = f"""
sources:
  {_FORMS}
  Fetched sources are neither installed nor run. What did not change is not mined again.

example:
  llmastool mine --source pypi:timm==1.0.31 --source path:../my-models
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "mine",
        help="cut module classes out of source code",
        description="Cut every module class out of sources, with exactly the code that it needs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--source", action="append", default=[], metavar="SOURCE", help="a source; may be repeated")
    parser.add_argument("--set", metavar="NAME", help="a set of sources to be mined as well")
    parser.add_argument("--sets", default="sources.yaml", metavar="FILE", help="file of the sets (%(default)s)")
    parser.add_argument("--include", action="append", default=[], metavar="GLOB", help="only files whose path matches")
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="no files whose path matches")
    add_folder(parser, "--out", "artifacts/mine", "folder to write to")
    add_folder(parser, "--fetched", "runs/sources", "what was fetched")
    add_folder(parser, "--cache", "runs/mined", "what was mined before")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        ConfigError: a source is not of a known form, or two have the same name.
        SourceError: a source cannot be fetched or read, or holds no module class.
    """
    from llmastool.cli.output import as_json, columns
    from llmastool.mining.fetch import fetch
    from llmastool.mining.incremental import mine
    from llmastool.mining.sets import all_sources
    from llmastool.mining.sources import MiningConfig
    from llmastool.runs import only_writer

    globs = {"include": tuple(arguments.include) or ("*",), "exclude": tuple(arguments.exclude)}
    named = tuple(source_of(text, **globs) for text in arguments.source)
    if not named and arguments.set is None:
        raise ConfigError(f"--source: expected at least one source ({_FORMS}) or a --set, got none")
    specs = all_sources(MiningConfig(sources=named, set=arguments.set, sets=arguments.sets))
    with only_writer(arguments.out):
        rows = mine([fetch(spec, arguments.fetched) for spec in specs], arguments.out, arguments.cache)
    if arguments.json:
        as_json(rows)
        return
    shown = [[r["name"], r["kind"], r["version"][:12], r["licence"], r["found"], len(r["broken_files"])] for r in rows]
    columns(shown, ("SOURCE", "KIND", "VERSION", "LICENCE", "MODULES", "BROKEN FILES"))


def source_of(text: str, include: tuple[str, ...] = ("*",), exclude: tuple[str, ...] = ()) -> SourceSpec:
    """Read a source as it is written on the command line.

    Args:
        text: such as `pypi:timm==1.0.31`.
        include: as `SourceSpec.include`.
        exclude: as `SourceSpec.exclude`.

    Raises:
        ConfigError: it is of no known form, or a part is missing.
    """
    from llmastool.mining.sources import SourceSpec

    kind, _, rest = text.partition(":")
    if kind == "installed":
        return SourceSpec(kind="installed", name=rest, include=include, exclude=exclude)
    if kind == "path":
        return SourceSpec(kind="path", path=rest, include=include, exclude=exclude)
    if kind == "pypi":
        name, _, version = rest.partition("==")
        return SourceSpec(kind="pypi", name=name, version=version, include=include, exclude=exclude)
    if kind == "git":
        # The last `@`: an address such as git@host:owner/repository has one of its own.
        url, _, commit = rest.rpartition("@")
        return SourceSpec(kind="git", url=url, commit=commit, include=include, exclude=exclude)
    raise ConfigError(f"--source: expected {_FORMS}, got {text!r}")
