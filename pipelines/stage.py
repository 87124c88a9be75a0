"""The command of every DVC stage: `python -m pipelines.stage NAME`.

Exit status: 0 done, 2 the user's to mend (one line on stderr says what), 130 stopped by Ctrl-C, 143 told to end.
A stage that was stopped goes on when the same command is given again.
"""

from __future__ import annotations

import argparse
import errno
import functools
import importlib
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn

from flows.server import die_with_parent, prefect_server
from llmastool.errors import LLMasToolError
from llmastool.leaving import leave_now
from llmastool.runs import only_writer


class Stage(NamedTuple):
    """A stage: the flow that does it, and what it is for."""

    flow: str
    """`module:function`; imported when it is run, as `--help` should not wait for Prefect and PyTorch."""
    parameters: bool
    """Whether the flow reads the file of parameters."""
    purpose: str
    folders: Mapping[str, str]
    """Where the flow reads and writes, by its parameters: paths in the folder of all outputs."""


_SHARED = {"data": "prepare", "registry": "registry"}

STAGES = {
    "prepare": Stage("flows.prepare:prepare", True, "read the image set and split it", {"out": "prepare"}),
    "fetch": Stage("flows.mine:fetch", True, "fetch the sources that are not on this machine", {"out": "fetch"}),
    "mine": Stage(
        "flows.mine:mine", True, "cut module classes out of source code", {"fetched": "fetch", "out": "mine"}
    ),
    "registry": Stage(
        "flows.mine:register",
        True,
        "probe them in the sandbox and register what runs",
        {"bundles": "mine", "out": "registry"},
    ),
    "search": Stage("flows.search:search", True, "evolve networks", {**_SHARED, "out": "search"}),
    "final": Stage(
        "flows.final:final",
        True,
        "train the best again, over several seeds, and test them",
        {**_SHARED, "archive": "search/archive.json", "out": "final"},
    ),
    "report": Stage(
        "flows.report:report",
        False,
        "write the report",
        {"archive": "search", "final": "final", "registry": "registry", "out": "report"},
    ),
}

OVERRIDDEN = Path(".cache/params")
"""Where files of parameters with `-S` in them are kept."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one stage and return its exit status."""
    arguments = _parser().parse_args(argv)
    name: str = arguments.stage
    if "DVC_STAGE" in os.environ:
        # Killing DVC must not leave a stage that nobody waits for. From a shell, it may outlive the shell.
        die_with_parent(os.getppid())
    signal.signal(signal.SIGTERM, _terminate)
    try:
        values = _values(STAGES[name], arguments)
        with only_writer(values["out"]):
            return _run(STAGES[name], values)
    except LLMasToolError as error:
        return _fail(f"{name}: {error}")
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return _fail(
                f"{name}: the disk is full ({error.filename or 'no file named'}); make room and go on: {_again()}"
            )
        return _fail(f"{name}: {error}; mend that and go on: {_again()}")
    except KeyboardInterrupt:
        _leave(f"{name}: stopped; what is done is kept. Go on: {_again()}", 128 + signal.SIGINT)
    except _Terminated:
        _leave(f"{name}: told to end; what is done is kept. Go on: {_again()}", 128 + signal.SIGTERM)


def _parser() -> argparse.ArgumentParser:
    stages = "\n".join(f"  {name:9} {stage.purpose}" for name, stage in STAGES.items())
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.stage",
        description="Run one stage of the pipeline; `dvc repro` runs those that are out of date.",
        epilog=f"stages:\n{stages}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stage", metavar="NAME", choices=list(STAGES), help="the stage to run")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="file of parameters (%(default)s)")
    parser.add_argument(
        "-S", "--set-param", action="append", default=[], metavar="KEY=VALUE", help="other than the file says"
    )
    parser.add_argument("--under", type=Path, default=Path("artifacts"), help="folder of all outputs (%(default)s)")
    parser.add_argument("--registry", type=Path, help="the registry's folder (registry, in the folder of all outputs)")
    return parser


def _values(stage: Stage, arguments: argparse.Namespace) -> dict[str, Path]:
    """Return what the flow is given.

    What is wrong with the parameters is said at once, rather than when a server has come up.

    Raises:
        ConfigError: something is.
    """
    values = {name: arguments.under / place for name, place in stage.folders.items()}
    if arguments.registry is not None and "registry" in values:
        values["registry"] = arguments.registry
    if stage.parameters:
        from llmastool.overrides import overridden
        from llmastool.params import Params

        values["params_file"] = overridden(arguments.params, arguments.set_param, OVERRIDDEN)
        Params.load(values["params_file"])
    return values


def _run(stage: Stage, values: Mapping[str, Path]) -> int:
    with prefect_server() as server:
        module, _, function = stage.flow.partition(":")
        flow: Callable[..., object] = getattr(importlib.import_module(module), function)
        server.wait()
        flow(**values)
    return 0


class _Terminated(BaseException):
    """SIGTERM came."""


def _terminate(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - the form of a signal handler
    raise _Terminated


@functools.cache
def _again() -> str:
    """Return the command that goes on: DVC's where DVC runs the stage, else this one."""
    return "dvc repro" if "DVC_STAGE" in os.environ else f"python -m pipelines.stage {shlex.join(sys.argv[1:])}"


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


def _leave(message: str, status: int) -> NoReturn:
    """Say why, and end now; what trains ends with this process."""
    print(message, file=sys.stderr)
    leave_now(status)


if __name__ == "__main__":
    leave_now(main())
