"""Image sets as their authors publish them: pickled batches of CIFAR-10, CIFAR-100 and ImageNet16.

They are pickles, and so could run code: each file has to have its published checksum, and is read by an unpickler that
builds arrays and nothing else.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmastool.errors import DataError
from llmastool.training.images.part import Part, Split


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a published set consists of."""

    folder: str
    """Folder that its archive holds."""
    archive: str | None
    """Name of its archive."""
    checksums: dict[str, str]
    """MD5 of each file, by its name, and of the archive."""
    files: dict[Split, tuple[str, ...]]
    """Names of the batches, by split."""
    height: int
    """Of its images, in pixels; they are square and of three channels."""
    labels: str
    """Key of the labels in a batch."""
    first_label: int = 0
    """Label of the first class."""
    names: tuple[str, str] | None = None
    """File and key of the names of its classes."""


def _cifar(name: str, labels: str) -> Published:
    from torchvision.datasets import CIFAR10, CIFAR100

    kind = {"CIFAR10": CIFAR10, "CIFAR100": CIFAR100}[name]
    sums = {**dict(kind.train_list), **dict(kind.test_list), kind.meta["filename"]: kind.meta["md5"]}
    return Published(
        folder=kind.base_folder,
        archive=kind.filename,
        checksums={**sums, kind.filename: kind.tgz_md5},
        files={"train": tuple(dict(kind.train_list)), "test": tuple(dict(kind.test_list))},
        height=32,
        labels=labels,
        names=(kind.meta["filename"], kind.meta["key"]),
    )


def _imagenet16() -> Published:
    """ImageNet at 16x16 pixels (Chrabaszcz, Loshchilov & Hutter 2017), checksums as in NAS-Bench-201's code."""
    train = (
        "27846dcaa50de8e21a7d1a35f30f0e91", "c7254a054e0e795c69120a5727050e3f", "4333d3df2e5ffb114b05d2ffc19b1e87",
        "1620cdf193304f4a92677b695d70d10f", "348b3c2fdbb3940c4e9e834affd3b18d", "6e765307c242a1b3d7d5ef9139b48945",
        "564926d8cbf8fc4818ba23d2faac7564", "f4755871f718ccb653440b9dd0ebac66", "bb6dd660c38c58552125b1a92f86b5d4",
        "8f03f34ac4b42271a294f91bf480f29b",
    )  # fmt: skip
    batches = {f"train_data_batch_{i}": checksum for i, checksum in enumerate(train, start=1)}
    return Published(
        folder="",
        archive=None,
        checksums={**batches, "val_data": "3410e3017fdaefba8d5073aaa65e4bd6"},
        files={"train": tuple(batches), "test": ("val_data",)},
        height=16,
        labels="labels",
        first_label=1,
    )


PUBLISHED: dict[str, Callable[[], Published]] = {
    "cifar-10-batches-py": lambda: _cifar("CIFAR10", "labels"),
    "cifar-10-python.tar.gz": lambda: _cifar("CIFAR10", "labels"),
    "cifar-100-python": lambda: _cifar("CIFAR100", "fine_labels"),
    "cifar-100-python.tar.gz": lambda: _cifar("CIFAR100", "fine_labels"),
    "train_data_batch_1": _imagenet16,
}
"""Sets, by what tells that they are there."""


def read_batches(path: Path) -> list[Part] | None:
    """Read a published set; None where the folder holds none.

    Args:
        path: a folder with the set's archive, or with what that held, e.g. as torchvision downloads it; or the archive.

    Raises:
        DataError: a file is missing, has another checksum than was published, or is broken.
    """
    folder = path if path.is_dir() else path.parent
    there = {entry.name for entry in path.iterdir()} if path.is_dir() else {path.name}
    mark = next((mark for mark in PUBLISHED if mark in there), None)
    if mark is None:
        return None
    published = PUBLISHED[mark]()
    read = _from_archive(folder / mark, published) if mark == published.archive else _from_folder(folder, published)
    names = None
    if published.names is not None:
        file, key = published.names
        names = tuple(map(str, _loaded(read(file), f"{folder}: {file}")[key]))
    return [
        _part(folder, file, read, published, split, names) for split, files in published.files.items() for file in files
    ]


def _part(
    folder: Path,
    file: str,
    read: Callable[[str], bytes],
    published: Published,
    split: Split,
    names: tuple[str, ...] | None,
) -> Part:
    batch = _loaded(read(file), f"{folder}: {file}")
    try:
        pixels = np.asarray(batch["data"], np.uint8).reshape(-1, 3, published.height, published.height)
        labels = np.asarray(batch[published.labels], np.int64) - published.first_label
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{folder}: {file}: not a batch of images ({error}); fetch the set again") from error
    return Part(
        path=folder / file,
        labels=labels,
        images=lambda rows: list(pixels[rows]),
        official=split,
        class_names=names,
        ordered=True,
    )


def _from_folder(folder: Path, published: Published) -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        file = folder / published.folder / name
        if not file.is_file():
            raise DataError(f"{file}: no such file; the set is not whole: fetch it again")
        return _checked(file.read_bytes(), published.checksums[name], str(file))

    return read


def _from_archive(archive: Path, published: Published) -> Callable[[str], bytes]:
    whole = _checked(archive.read_bytes(), published.checksums[archive.name], str(archive))
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        members = {Path(member.name).name: tar.extractfile(member) for member in tar if member.isfile()}
        held = {name: file.read() for name, file in members.items() if file is not None}

    def read(name: str) -> bytes:
        return _checked(held[name], published.checksums[name], f"{archive}: {name}")

    return read


def _checked(data: bytes, checksum: str, where: str) -> bytes:
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != checksum:
        raise DataError(
            f"{where}: expected the published file with MD5 {checksum}, got {len(data)} bytes with MD5 {found}; it was "
            "cut short or changed: fetch it again"
        )
    return data


_ALLOWED = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}


class _Arrays(pickle.Unpickler):
    """Builds arrays of NumPy, and refuses everything else that is no plain value."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED or (name == "_reconstruct" and module.endswith("core.multiarray")):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"a batch of images holds no {module}.{name}")


def _loaded(data: bytes, where: str) -> dict[str, Any]:
    try:
        found = _Arrays(io.BytesIO(data), encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{where}: not a readable batch ({error}); fetch the set again") from error
    if not isinstance(found, dict):
        raise DataError(f"{where}: expected a mapping, found {type(found).__name__}; fetch the set again")
    return found
