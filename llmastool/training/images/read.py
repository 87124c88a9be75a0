"""Find out what a folder or file of images is, and read it."""

from __future__ import annotations

from pathlib import Path

from llmastool.errors import DataError
from llmastool.training.images.batches import PUBLISHED, read_batches
from llmastool.training.images.classes import read_classes
from llmastool.training.images.npz import read_npz
from llmastool.training.images.parquet import read_parquet
from llmastool.training.images.part import SPLIT_NAMES, Part


def read(path: Path, size: int | None = None) -> list[Part]:
    """Return the parts of an image set.

    Args:
        path: a `.npz` or `.parquet` file, an archive of CIFAR, or a folder: of `.npz` files, of Hugging Face parquet
            files (`train-*`, `test-*`), of the published batches of CIFAR-10, CIFAR-100 or ImageNet16, or with a folder
            for each class.
        size: side to which encoded images are scaled, in pixels; None leaves them as they are.

    Raises:
        DataError: there is no such set, or it is broken; the message names the file.
    """
    if not path.exists():
        raise DataError(
            f"{path}: no such file or folder; get it with `dvc update data.dvc` if it is the default, or set data.path "
            "to an image set that you have"
        )
    parts = _read_file(path, size) if path.is_file() else _read_folder(path, size)
    if all(part.official == "test" for part in parts):
        raise DataError(f"{path}: holds a test split but no train-* file")
    return parts


def _read_file(path: Path, size: int | None) -> list[Part]:
    if path.suffix == ".npz":
        return [read_npz(path)]
    if path.suffix == ".parquet":
        return [read_parquet(path, size)]
    batches = read_batches(path)
    if batches is None:
        raise DataError(f"{path}: expected a .npz or .parquet file, or one of {', '.join(PUBLISHED)}")
    return batches


def _read_folder(path: Path, size: int | None) -> list[Part]:
    archives = sorted(path.glob("*.npz"))
    tables = sorted(p for p in path.glob("*.parquet") if p.name.split("-")[0] in SPLIT_NAMES)
    folders = [entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    batches = read_batches(path)
    kinds = [bool(archives), bool(tables), batches is not None]
    if sum(kinds) > 1 or not (any(kinds) or folders):
        found = sorted(p.name for p in path.iterdir())[:8]
        raise DataError(
            f"{path}: expected *.npz files, or train-*.parquet, or published batches, or a folder for each class; "
            f"found {found or 'an empty folder'}"
        )
    if batches is not None:
        return batches
    if archives or tables:
        return [read_npz(p) for p in archives] or [read_parquet(p, size) for p in tables]
    return read_classes(path, size)
