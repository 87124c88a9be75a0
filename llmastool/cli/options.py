"""Options that several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_folder(parser: argparse.ArgumentParser, flag: str, default: str, purpose: str) -> None:
    """Add an option that names a folder."""
    parser.add_argument(flag, type=Path, default=Path(default), metavar="FOLDER", help=f"{purpose} (%(default)s)")


def add_params(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the file of parameters."""
    parser.add_argument(
        "--params", type=Path, default=Path("params.yaml"), metavar="FILE", help="all parameters (%(default)s)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option that asks for JSON."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def count(text: str) -> int:
    """Read a number of 1 or more.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of 1 or more, got {text!r}")
    return int(text)
