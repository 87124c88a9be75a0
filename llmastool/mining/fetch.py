"""Fetch sources that are not on this machine: what is kept is text, and nothing of it is installed, imported or run.

Each fetched source is a folder: `files/` with its Python files, and `source.json`, which says what they are. The folder
appears whole or not at all, and its name follows from what was asked for, so that it is found again without a network.
"""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from llmastool.canonical import Json, digest, read_json, write_json
from llmastool.errors import SourceError
from llmastool.mining.folders import read_files
from llmastool.mining.sources import Origin, SourceSpec, digest_files, read_source
from llmastool.outputs import place_whole

RECORD = "source.json"
"""File in the folder of a fetched source that says what it is."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What came of fetching, before it is written down."""

    files: Mapping[str, bytes]
    """Python files by path."""
    root: str
    """Path within them of the folder that holds the source; empty for the top."""
    prefix: tuple[str, ...]
    """As `Origin.prefix`."""
    version: str
    """Release, or full hash of the commit."""
    origin: str
    """URL or file name that it came from, without credentials."""
    sha256: str = ""
    """Of the archive; empty for a repository, whose commit is a hash already."""
    licence: str = ""
    texts: tuple[tuple[str, str], ...] = ()


def fetch(spec: SourceSpec, folder: Path) -> SourceSpec:
    """Have a source on this machine; what was fetched before is not fetched again.

    Args:
        spec: any source. One that needs no fetching is returned as it is.
        folder: holds a folder for each fetched source.

    Returns:
        The source with its `path` set.

    Raises:
        SourceError: it cannot be fetched (no network, no such release or commit), or its archive is not to be trusted.
    """
    from llmastool.mining.git import fetch_commit
    from llmastool.mining.pypi import fetch_release

    if not spec.fetched or spec.path:
        return spec
    place = folder / folder_name(spec)
    if not (place / RECORD).is_file():
        _write(place, spec, fetch_release(spec) if spec.kind == "pypi" else fetch_commit(spec))
    return replace(spec, path=str(place))


def fetch_all(specs: Sequence[SourceSpec], cache: Path, out: Path) -> list[Json]:
    """Have exactly these sources in a folder, which is what DVC versions.

    Args:
        specs: sources; those that need no fetching are passed over.
        cache: folder of all that was ever fetched.
        out: folder to write to. What it holds of other sources is removed.

    Returns:
        The records of what was fetched, texts aside; they are also written to `sources.json`.

    Raises:
        SourceError: as `fetch`.
    """
    out.mkdir(parents=True, exist_ok=True)
    wanted = {}
    for spec in (s for s in specs if s.fetched):
        copy = fetch(spec, cache)
        read_source(copy)  # says where what was fetched earlier has been changed since
        wanted[folder_name(spec)] = Path(copy.path)
    for old in out.iterdir():
        if old.is_dir() and old.name not in wanted:
            shutil.rmtree(old)
    for name, source in wanted.items():
        if not (out / name / RECORD).is_file():
            place_whole(out / name, partial(shutil.copytree, source, dirs_exist_ok=True))
    records = [read_json(out / name / RECORD) for name in sorted(wanted)]
    records = [{key: value for key, value in r.items() if key != "texts"} for r in records]
    write_json(out / "sources.json", {"sources": records})
    return records


def located(spec: SourceSpec, folder: Path) -> SourceSpec:
    """Return a source with its `path` in a folder to which it was fetched before.

    Raises:
        SourceError: it is not there.
    """
    if not spec.fetched or spec.path:
        return spec
    place = folder / folder_name(spec)
    if not (place / RECORD).is_file():
        raise SourceError(f"source {spec.label!r}: expected it under {place}, found nothing; run `dvc repro fetch`")
    return replace(spec, path=str(place))


def fetched_origin(spec: SourceSpec) -> Origin:
    """Return where a fetched source is.

    Raises:
        SourceError: it was not fetched, or the record is broken.
    """
    record = Path(spec.path) / RECORD
    if not spec.path or not record.is_file():
        raise SourceError(
            f"source {spec.label!r}: expected it to be fetched, found no {RECORD} in {spec.path or 'no folder'}; "
            "fetch it first (`dvc repro fetch`, or llmastool.mining.fetch.fetch)"
        )
    try:
        found = read_json(record)
        return Origin(
            root=Path(spec.path, "files", found["root"]),
            prefix=tuple(found["prefix"]),
            version=found["version"],
            licence=found["licence"],
            texts=tuple((name, text) for name, text in found["texts"]),
            digest=found["digest"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"source {spec.label!r}: expected the record of a fetched source in {record}, found something else "
            f"({error!r}); delete {spec.path} and fetch again"
        ) from None


def folder_name(spec: SourceSpec) -> str:
    """Return the name of the folder of a fetched source: readable, and different for whatever else is asked for."""
    asked = [spec.kind, spec.name, spec.version, spec.url, spec.commit]
    readable = re.sub(r"[^A-Za-z0-9._-]", "-", f"{spec.label}-{spec.version or spec.commit[:12]}").lstrip(".-")
    return f"{readable[:60]}-{digest(asked)[:8]}"


def _write(place: Path, spec: SourceSpec, fetched: Fetched) -> None:
    def fill(target: Path) -> None:
        for path, content in fetched.files.items():
            file = target / "files" / PurePosixPath(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        (target / "files" / fetched.root).mkdir(parents=True, exist_ok=True)
        files, _ = read_files(target / "files" / fetched.root, fetched.prefix)
        known = {key: value for key, value in asdict(fetched).items() if key != "files"}
        asked = {"kind": spec.kind, "name": spec.label, "asked": spec.version or spec.commit}
        write_json(target / RECORD, {**known, **asked, "digest": digest_files(files)})

    try:
        place_whole(place, fill)
    except OSError as error:
        # A path that is a file and a folder at once, or too long, is the source's fault; a full disk is not.
        if error.errno not in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG):
            raise
        raise SourceError(f"source {spec.label!r}: expected files that fit on a disk, found {error}") from None
