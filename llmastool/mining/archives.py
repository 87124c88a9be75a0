"""Read wheels and source distributions without unpacking them: the few texts that are wanted, names checked first."""

from __future__ import annotations

import email
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from llmastool.errors import SourceError
from llmastool.mining.folders import LARGEST_FILE, LARGEST_TEXT, description
from llmastool.mining.licences import LICENCE_FILE, licence_of

LARGEST_TOTAL = 512 * 1024 * 1024
"""Largest sum of the texts that are kept of one source, in bytes."""

LARGEST_TAR = 8 * 1024 * 1024 * 1024
"""Largest sum of all members of a tar file, in bytes: they have to be decompressed to be passed over."""

_BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError),
    OSError,  # that of gzip and bz2; nothing is written here
)
"""What reading a broken archive raises."""

_METADATA = ("METADATA", "PKG-INFO", "top_level.txt")

_ASIDE = frozenset({"tests", "test", "testing", "docs", "doc", "examples", "example", "benchmarks", "scripts", "tools"})
"""Top-level names that are not what a distribution is for, unless it has no other."""


def read_archive(path: Path, label: str) -> dict[str, bytes]:
    """Return the Python files, metadata, licences and READMEs of a wheel or a source distribution, by path.

    The single folder that a source distribution is packed in is left out of the paths.

    Raises:
        SourceError: it is broken, too large, or holds a path that leads out of it.
    """
    read = _of_zip if path.name.endswith((".whl", ".zip")) else _of_tar
    try:
        members = dict(read(path, label))
    except _BROKEN as error:
        raise SourceError(
            f"source {label!r}: expected a wheel or source distribution, {path.name} is broken ({error})"
        ) from None
    if path.name.endswith(".whl"):
        return members
    return {inner: content for name, content in members.items() if (inner := name.partition("/")[2])}


def packages_of(members: Mapping[str, bytes]) -> tuple[str, list[str]]:
    """Return the folder that holds the import packages of a distribution (empty, or `src/`), and their names.

    The names are those of `top_level.txt`, or else of the folders and modules there are. They can differ from the
    distribution's, as with vit-pytorch, whose package is vit_pytorch.
    """
    python = [name for name in members if name.endswith(".py")]
    base = "src/" if any(n.startswith("src/") and n.endswith("/__init__.py") for n in python) else ""
    present = {n.removeprefix(base).split("/")[0].removesuffix(".py") for n in python if n.startswith(base)}
    listed = [c.decode("utf-8", "replace").split() for n, c in sorted(members.items()) if n.endswith("/top_level.txt")]
    names = present & {name for line in listed for name in line}
    if not names:
        folders = {
            n.removeprefix(base).split("/")[0] for n in python if n.startswith(base) and n.endswith("/__init__.py")
        }
        names = folders or present - {"setup", "conftest", "noxfile"}
    names = {name for name in names if name.isidentifier()}
    return base, sorted(names - _ASIDE or names)


def facts_of(members: Mapping[str, bytes]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the licence and the long description of a distribution."""
    found = [c for n, c in sorted(members.items()) if PurePosixPath(n).name in ("METADATA", "PKG-INFO")]
    meta = email.message_from_string(found[0].decode("utf-8", "replace") if found else "")
    licences = (c for n, c in sorted(members.items()) if LICENCE_FILE.fullmatch(PurePosixPath(n).name))
    licence = licence_of(meta, (c.decode("utf-8", "replace") for c in licences))
    return licence, description(meta) or readmes_of(members)


def readmes_of(members: Mapping[str, bytes]) -> tuple[tuple[str, str], ...]:
    """Return name and text of each README at the top."""
    return tuple(
        (name, content[:LARGEST_TEXT].decode("utf-8", "replace"))
        for name, content in sorted(members.items())
        if "/" not in name and name.lower().split(".")[0] == "readme"
    )


def is_kept(path: PurePosixPath) -> bool:
    """Return whether a file is one of those that are kept of a source, by its path."""
    name = path.name
    return (
        name.endswith(".py")
        or name in _METADATA
        or bool(LICENCE_FILE.fullmatch(name))
        or name.lower().split(".")[0] == "readme"
    )


def checked(name: str, label: str) -> PurePosixPath:
    """Return a path within a source.

    Raises:
        SourceError: it leads out of the source.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise SourceError(
            f"source {label!r}: expected paths within the source, found {name!r}; it is not to be trusted"
        )
    return path


def check_total(total: int, label: str, limit: int = LARGEST_TOTAL) -> None:
    """Raise `SourceError` when a source is larger than what is read of one."""
    if total > limit:
        raise SourceError(f"source {label!r}: expected at most {limit >> 20} MiB of texts, found more; use kind: path")


def _of_zip(path: Path, label: str) -> Iterator[tuple[str, bytes]]:
    total = 0
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            parts = checked(info.filename, label).parts
            # What `NAME.data/purelib` holds is installed beside the rest; a data folder's other parts are no packages.
            if parts[0].endswith(".data") and len(parts) > 2:
                if parts[1] not in ("purelib", "platlib"):
                    continue
                parts = parts[2:]
            if is_kept(PurePosixPath(*parts)) and info.file_size <= LARGEST_FILE and not info.flag_bits & 1:
                check_total(total := total + info.file_size, label)
                # zipfile stops at the size that the directory states, so that no more is decompressed than was checked.
                yield "/".join(parts), archive.read(info)


def _of_tar(path: Path, label: str) -> Iterator[tuple[str, bytes]]:
    total = everything = 0
    with tarfile.open(path, "r:*") as archive:
        for member in archive:
            check_total(everything := everything + member.size, label, LARGEST_TAR)
            name = checked(member.name, label)
            # Links and devices are passed over: only what a file holds itself is read.
            if member.isreg() and is_kept(name) and member.size <= LARGEST_FILE:
                check_total(total := total + member.size, label)
                file = archive.extractfile(member)
                assert file is not None
                yield name.as_posix(), file.read()
