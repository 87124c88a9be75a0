"""Image sets as folders, one for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from llmastool.errors import DataError
from llmastool.training.images.part import SPLIT_NAMES, Part, Pixels, Rows, Split, decode

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def read_classes(path: Path, size: int | None = None) -> list[Part]:
    """Read `<class>/<image>`, or the same below `train` and, where they are there, `val` and `test`.

    A set with `train` and `val` but no `test` has none of its own: its validation images are taken as such.

    Raises:
        DataError: a folder has no image, or the splits have different classes.
    """
    below = sorted(entry for entry in path.iterdir() if entry.is_dir())
    splits = {SPLIT_NAMES[entry.name]: entry for entry in below if entry.name in SPLIT_NAMES}
    if "train" not in splits:
        return [_part(path, "train", _classes(path), size)]
    classes = _classes(splits["train"])
    for split, folder in splits.items():
        if (found := _classes(folder)) != classes:
            odd = sorted(set(found) ^ set(classes))[:5]
            raise DataError(f"{folder}: expected the classes of {splits['train']}, one of both lacks {odd} ({split})")
    return [_part(folder, split, classes, size) for split, folder in splits.items()]


def _classes(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _part(path: Path, official: Split, classes: Sequence[str], size: int | None) -> Part:
    files, labels = [], []
    for label, name in enumerate(classes):
        own = sorted(file for file in (path / name).rglob("*") if file.suffix.lower() in SUFFIXES)
        if not own:
            raise DataError(f"{path / name}: expected images ({', '.join(sorted(SUFFIXES))}), found none")
        files += own
        labels += [label] * len(own)

    def images(rows: Rows) -> list[Pixels]:
        return [decode(files[row].read_bytes(), str(files[row]), size) for row in rows.tolist()]

    return Part(
        path=path,
        labels=np.array(labels, np.int64),
        images=images,
        official=official,
        class_names=tuple(classes),
        files=tuple(files),
        size=size,
        place=lambda row: str(files[row]),
    )
