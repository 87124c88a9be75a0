"""`llmastool doctor`: what this machine has of what the project needs, and what to do about the rest."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from llmastool.cli.options import add_json, add_params
from llmastool.errors import LLMasToolError

LEAST_DISK_GIB = 5.0
"""Free space below which a search is likely to fill the disk."""

LEAST_MEMORY_GIB = 4.0
"""Memory for each training, with what PyTorch itself takes."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "absent", "wrong"]
    """`absent` is what can be done without; `wrong` has to be mended."""
    found: str
    cure: str = ""


class Unfit(LLMasToolError):  # noqa: N818 - a state of this machine
    """Something has to be mended."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor",
        help="check this machine",
        description="Check this machine, and say what is missing and what to do about it. Nothing is changed, and no "
        "key is shown. Status 2 if something has to be mended.",
    )
    add_params(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        Unfit: something has to be mended.
    """
    from llmastool.cli.output import as_json, columns

    findings = list(examine(arguments.params))
    if arguments.json:
        as_json([asdict(finding) for finding in findings])
    else:
        columns([(f.name, f.state, f.found, f.cure) for f in findings], ("WHAT", "STATE", "FOUND", "WHAT TO DO"))
    wrong = [finding.name for finding in findings if finding.state == "wrong"]
    if wrong:
        raise Unfit(f"doctor: to be mended: {', '.join(wrong)}")


def examine(params: Path) -> Iterator[Finding]:
    """Look at everything, what is needed first."""
    yield _python()
    yield _package("torch", needed=True, cure="pip install -r requirements.lock")
    yield _package("torchvision", needed=True, cure="pip install -r requirements.lock")
    yield _sandbox()
    yield _parameters(params)
    yield _disk(Path.cwd())
    yield _memory()
    yield _gpu()
    yield _folder("prepared images", Path("artifacts/prepare/meta.json"), "llmastool prepare")
    yield _folder("registry", Path("artifacts/registry/registry.parquet"), "dvc repro registry")
    for name in ("prefect", "dvc", "mlflow"):
        yield _package(name, needed=False, cure="pip install -r requirements.lock, for the pipeline")
    yield _llm()
    yield _package("xllamacpp", needed=False, cure="make demo-llm, for a small LLM on this machine")


def _python() -> Finding:
    return Finding(name="Python", state="ok", found=".".join(map(str, sys.version_info[:3])))


def _package(name: str, *, needed: bool, cure: str) -> Finding:
    if importlib.util.find_spec(name) is None:
        return Finding(name=name, state="wrong" if needed else "absent", found="not installed", cure=cure)
    return Finding(name=name, state="ok", found=importlib.metadata.version(name))


def _checked(name: str, check: Callable[[], str]) -> Finding:
    """Return what a check found; what it raised says what is wrong and what to do."""
    try:
        return Finding(name=name, state="ok", found=check())
    except LLMasToolError as error:
        return Finding(name=name, state="wrong", found=str(error))


def _sandbox() -> Finding:
    from llmastool.sandbox import isolation_works

    return _checked("sandbox", lambda: "isolates" if isolation_works() else "limits only, as it was allowed to")


def _parameters(path: Path) -> Finding:
    from llmastool.params import Params

    return _checked("parameters", lambda: f"{path}: data {Params.load(path).data.name}")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / 1024**3
    if free >= LEAST_DISK_GIB:
        return Finding(name="disk", state="ok", found=f"{free:.0f} GiB free")
    return Finding(name="disk", state="wrong", found=f"{free:.1f} GiB free", cure=f"free {LEAST_DISK_GIB:g} GiB")


def _memory() -> Finding:
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    found = f"{have:.0f} GiB, {os.cpu_count()} cores"
    if have >= LEAST_MEMORY_GIB:
        return Finding(name="memory", state="ok", found=found)
    return Finding(
        name="memory", state="wrong", found=found, cure=f"{LEAST_MEMORY_GIB:g} GiB for each training at once"
    )


def _gpu() -> Finding:
    from llmastool.training.devices import visible

    gpus = visible()
    if gpus:
        return Finding(name="GPU", state="ok", found=f"{len(gpus)}: {', '.join(gpus)}")
    return Finding(name="GPU", state="absent", found="none", cure="trainings run on the CPU")


def _folder(name: str, path: Path, command: str) -> Finding:
    if path.exists():
        return Finding(name=name, state="ok", found=str(path.parent))
    return Finding(name=name, state="absent", found=f"no {path}", cure=command)


def _llm() -> Finding:
    known = [name for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL") if os.environ.get(name)]
    if known:
        return Finding(name="LLM", state="ok", found=f"{' and '.join(known)} set")
    return Finding(
        name="LLM", state="absent", found="no key, no address", cure="see docs/llm.md; without one the rules fill in"
    )
