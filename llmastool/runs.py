"""Run folders, each named by all that its search depends on, and the lock that keeps a second writer out.

A run folder holds the log of one search. The same parameters, data and registry lead to the same folder, so that the
same command goes on where it was stopped; anything that changes the result leads to another one.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from llmastool.canonical import Json, digest, digest_bytes, write_json
from llmastool.errors import LLMasToolError, RegistryError

if TYPE_CHECKING:
    from llmastool.params import Params

VERSION = 8
"""Version of the event log; a search of another version is begun anew."""

_HELD: set[Path] = set()
"""Locks of this process, so that a stage and the flow that it runs can both ask for the same one."""


class Locked(LLMasToolError):  # noqa: N818 - a state, not a fault of the program
    """Another process writes the same output."""


def run_folder(root: Path, params: Params, data: Path, registry: Path) -> Path:
    """Return the folder of a search, made where it is missing; its `run.json` says what it stands for.

    Args:
        root: folder of all runs.
        params: all parameters; those that cannot change the archive are left out of the folder's key.
        data: folder that `llmastool.training.data.prepare` wrote.
        registry: folder that the registry stage wrote.

    Raises:
        DataError: the data was not prepared.
        RegistryError: there is no registry.
    """
    from llmastool.training.data import load_meta

    what = {
        "version": VERSION,
        **_decisive(params),
        "data": load_meta(data)["digest"],
        "registry": registry_digest(registry),
    }
    folder = root / digest(what)[:16]
    write_json(folder / "run.json", what)
    return folder


def registry_digest(registry: Path) -> str:
    """Return the hash over a registry's table and bundles.

    Raises:
        RegistryError: one of its files is missing.
    """
    try:
        return digest_bytes(*((registry / name).read_bytes() for name in ("registry.parquet", "bundles.jsonl")))
    except FileNotFoundError as error:
        raise RegistryError(f"{error.filename}: no such file; make it with `dvc repro registry`") from None


def _decisive(params: Params) -> Json:
    sections = ("seed", "start", "budget", "search", "planner", "filler", "training")
    values = {name: value for name, value in asdict(params).items() if name in sections}
    # How many train or build at the same time changes when, not what.
    values["training"].pop("workers")
    values["search"].pop("processes")
    return values


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the lock of an output folder; this process may hold it more than once.

    The kernel frees it when the process ends, however it ends.

    Raises:
        Locked: another process holds it; the message says which.
    """
    path = folder.parent / f".{folder.name}.lock"
    path = path.resolve()
    if path in _HELD:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise Locked(f"{folder}: {owner} is writing it; wait for its end, or stop it") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} ({' '.join([Path(sys.argv[0]).name, *sys.argv[1:]])})")
        file.flush()
        _HELD.add(path)
        try:
            yield
        finally:
            _HELD.discard(path)
