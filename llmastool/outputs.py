"""Folders that are whole or absent, and that are not made a second time from the same inputs."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from llmastool.canonical import Json, digest, digest_bytes, read_json, write_json


def place_whole(place: Path, fill: Callable[[Path], object]) -> None:
    """Have a folder filled beside its place, and put it there when it is whole. What was there before goes.

    Args:
        place: where the folder is to be.
        fill: given an empty folder to fill; what it raises leaves `place` as it was.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name[:40]}."))
    try:
        fill(temporary)
        temporary.chmod(0o755)
        if place.exists():
            shutil.rmtree(place)
        temporary.replace(place)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)


@contextmanager
def alone_at(place: Path) -> Iterator[None]:
    """Wait until nobody else on this machine works on a folder. The kernel frees the lock when its holder ends."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(f".{place.name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def code_digest(folder: Path) -> str:
    """Return a hash over the Python files directly in a folder: what they made is to be made again when they change."""
    files = sorted(folder.glob("*.py"))
    return digest_bytes(*(part for f in files for part in (f.name.encode(), f.read_bytes())))[:16]


def files_digest(folder: Path) -> dict[str, str]:
    """Return the hashes of the files directly in a folder, by name; empty where there is no such folder."""
    if not folder.is_dir():
        return {}
    return {f.name: digest_bytes(f.read_bytes())[:16] for f in sorted(folder.iterdir()) if f.is_file()}


class Stamp:
    """Remembers from which inputs an output folder was made, so that it need not be made again.

    It lies outside of that folder: what made a folder is not part of what it holds.
    """

    def __init__(self, notes: Path, out: Path, inputs: Sequence[Json]) -> None:
        """Make the stamp of an output.

        Args:
            notes: folder in which stamps are kept.
            out: the output folder.
            inputs: all that the output depends on, as JSON.
        """
        self._note = notes / f"made-{digest(str(out.resolve()))[:16]}.json"
        self._out, self._inputs = out, digest(list(inputs))

    def holds(self) -> bool:
        """Return whether the output was made from these inputs, and nobody has changed it since."""
        made = files_digest(self._out)
        try:
            return bool(made) and read_json(self._note) == {"inputs": self._inputs, "files": made}
        except (FileNotFoundError, ValueError):
            return False

    def set(self) -> None:
        """Say that the output, as it is now, was made from these inputs."""
        write_json(self._note, {"inputs": self._inputs, "files": files_digest(self._out)})
