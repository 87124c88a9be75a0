"""A benchmark in parts: each is measured by itself, and kept as soon as it is known."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.machine import ROOT, describe
from llmastool.canonical import Json, read_json, write_json

S = TypeVar("S")

CIFAR = ROOT.parent / "shared" / "data" / "cifar10"
"""Where CIFAR-10 is looked for, as Hugging Face lays it out."""


def parser_of(doc: str, name: str, parts: Iterable[str], results: Path) -> argparse.ArgumentParser:
    """Return a parser of the options that benchmarks in parts have.

    Args:
        doc: what the benchmark's module says of itself.
        name: of the benchmark; its work folder is called after it.
        parts: what can be measured.
        results: file to write.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    work = Path(tempfile.gettempdir()) / f"llmastool-{name}"
    parser.add_argument("--only", nargs="+", choices=list(parts), help="which parts")
    parser.add_argument("--work", type=Path, default=work, help="folder to work in (%(default)s)")
    parser.add_argument("--results", type=Path, default=results, help="file to write (%(default)s)")
    return parser


def add_whole(parser: argparse.ArgumentParser) -> None:
    """Add the option that asks for more than the short form."""
    parser.add_argument("--whole", action="store_true", help="all of it, which can take hours")


def add_cifar(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where CIFAR-10 is."""
    parser.add_argument("--cifar", type=Path, default=CIFAR, help="folder of CIFAR-10's parquet files (%(default)s)")


def measure(
    names: Sequence[str],
    parts: Mapping[str, Callable[[S], Json]],
    setting: S,
    results: Path,
    headline: Callable[[Json], Json],
) -> None:
    """Measure parts and write their figures; those of other parts stay as they are.

    Args:
        names: which parts, in order.
        parts: what measures each.
        setting: what they work on.
        results: file to write.
        headline: from all that is known, the figures that stand at the top of the file.
    """
    known = read_json(results) if results.exists() else {}
    for name in names:
        print(f"{name} ...", flush=True)
        known[name] = {**parts[name](setting), "machine": describe()}
        known |= headline(known)
        write_json(results, known)
        print(json.dumps({k: v for k, v in known[name].items() if k != "machine"}, indent=1)[:4000], flush=True)
