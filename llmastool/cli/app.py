"""The program `llmastool`: parse, run one command, say in one line what is the user's to mend.

Exit status: 0 done, 2 the user's to mend, 130 stopped by Ctrl-C, 141 when nobody reads the output any more.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from llmastool.cli import doctor, export, mine, registry, search, stages, tree
from llmastool.errors import LLMasToolError

COMMANDS = (mine, registry, tree, search, stages, export, doctor)
"""Modules with a function `add`, which adds a command and sets the function that runs it as the default of `run`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except LLMasToolError as error:
        return _fail(str(error))
    except BrokenPipeError:
        # As with `| head`. Python would say so once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        return _fail(f"{error.filename or 'a file'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("llmastool: stopped; what is done is kept", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llmastool",
        description="Neural architecture search over modules mined from source code.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser


def _fail(message: str) -> int:
    print(f"llmastool: {message}", file=sys.stderr)
    return 2
