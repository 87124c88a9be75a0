"""Folders kept by name in a place that several machines reach: a shared disk, or any address that fsspec knows.

What does not change is kept under the digest of its content, and is checked when it is taken out.
"""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
import uuid
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmastool.addresses import without_credentials
from llmastool.errors import LLMasToolError
from llmastool.outputs import alone_at, place_whole

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_CHUNK = 1 << 20


class StoreError(LLMasToolError):
    """What should be in a store is not there or is broken."""


class Store:
    """A store at an address: a path, or a URL such as `s3://bucket/folder` or `sftp://host/folder`."""

    def __init__(self, url: str) -> None:
        """Name the store; nothing is made or read yet.

        Raises:
            StoreError: the address is of a kind that is not known here.
        """
        import fsspec

        # Workers run in other folders.
        self.url = url if "://" in url else str(Path(url).resolve())
        self._digests: dict[tuple[tuple[str, int, int], ...], str] = {}
        try:
            found: tuple[AbstractFileSystem, str] = fsspec.url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise StoreError(f"{self}: expected a folder or a URL that fsspec knows: {error}") from None
        self._fs, self._root = found

    def __str__(self) -> str:
        return f"store {without_credentials(self.url)}"

    def holds(self, name: str) -> bool:
        """Return whether there is a folder of this name. Another machine may have put it there just now.

        Raises:
            OSError: that cannot be told just now. (What fsspec calls `exists` would take it for no.)
        """
        self._fs.invalidate_cache()
        try:
            self._fs.info(self._path(name))
        except FileNotFoundError:
            return False
        return True

    def put(self, name: str, folder: Path, *, without: Collection[str] = ()) -> None:
        """Keep a folder under a name; it is there whole or not at all. What was there before goes.

        Files and folders are kept; links, pipes and the like, which foreign code may have left, are not.

        Args:
            name: of the folder; may have parts, as in `trials/x`.
            folder: what to keep.
            without: names directly in it that are left out.
        """
        path = self._path(name)
        beside = f"{path}.{uuid.uuid4().hex}.part"
        with tempfile.TemporaryFile() as packed:
            with tarfile.open(fileobj=packed, mode="w") as tar:
                for item in sorted(folder.iterdir()):
                    if item.name not in without:
                        tar.add(item, item.name, filter=_plain)
            packed.seek(0)
            self._fs.makedirs(self._fs._parent(path), exist_ok=True)
            with self._fs.open(beside, "wb") as file:
                while chunk := packed.read(_CHUNK):
                    file.write(chunk)
        self._fs.mv(beside, path)

    def keep(self, folder: Path) -> str:
        """Keep a folder that does not change under the digest of its content, and return that name."""
        files = [(str(path), path.stat()) for path in _files(folder)]
        stamp = tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in files)
        # What was hashed before and was not touched since: the images and the registry, for each candidate.
        name = self._digests.get(stamp) or self._digests.setdefault(stamp, folder_digest(folder))
        if not self.holds(name):
            self.put(name, folder)
        return name

    def take(self, name: str, place: Path) -> None:
        """Have a folder of the store at a place; what was there goes.

        Raises:
            StoreError: there is none of this name.
        """
        place_whole(place, lambda folder: self._unpack(name, folder))

    def _unpack(self, name: str, folder: Path) -> None:
        if not self.holds(name):
            raise StoreError(f"{self}: expected {name} in it, found nothing; is that place shared?")
        with self._fs.open(self._path(name), "rb") as file, tarfile.open(fileobj=_whole(file), mode="r:") as tar:
            tar.extractall(folder, filter="data")

    def kept(self, name: str, cache: Path) -> Path:
        """Return a folder under `cache` with what is kept under a digest; taken out of the store once for a machine.

        Raises:
            StoreError: there is none of this name, or its content is not that of its name.
        """
        place = cache / name

        def fill(folder: Path) -> None:
            self._unpack(name, folder)
            if folder_digest(folder) != name:
                raise StoreError(f"{self}: the content of {name} is not that of its name; remove it there")

        if not place.is_dir():
            with alone_at(place):
                if not place.is_dir():
                    place_whole(place, fill)
        return place

    def remove(self, name: str) -> None:
        """Remove a folder from the store where it is there."""
        with suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}.tar"


def _plain(item: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return item if item.isreg() or item.isdir() else None


def folder_digest(folder: Path) -> str:
    """Return the hash over the names and contents of all files under a folder, 64 hexadecimal digits."""
    state = hashlib.sha256()
    for path in _files(folder):
        name, size = path.relative_to(folder).as_posix().encode(), path.stat().st_size
        state.update(len(name).to_bytes(8, "little") + name + size.to_bytes(8, "little"))
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                state.update(chunk)
    return state.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _whole(file: Any) -> Any:
    """Return a file that can seek, as an archive's reader wants it."""
    if file.seekable():
        return file
    copy = tempfile.SpooledTemporaryFile(max_size=64 * _CHUNK)  # noqa: SIM115 - closed with the reader
    while chunk := file.read(_CHUNK):
        copy.write(chunk)
    copy.seek(0)
    return copy
