"""Image sets in NumPy archives."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from llmastool.errors import DataError
from llmastool.training.images.part import SPLIT_NAMES, Part, Pixels


def read_npz(path: Path) -> Part:
    """Read a NumPy archive with `images` uint8 `(n, H, W)`, `(n, C, H, W)` or `(n, H, W, C)`, and integer `labels`.

    Raises:
        DataError: the file is broken, or the arrays are not of that kind.
    """
    try:
        # Opened here, as `np.load` leaks the file when it is no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: not a readable NumPy archive ({error}); fetch or make the file again") from error
    missing = {"images", "labels"} - set(arrays)
    if missing:
        raise DataError(f"{path}: expected arrays 'images' and 'labels', found {sorted(arrays)}")
    pixels, labels = _channels_first(arrays["images"], path), arrays["labels"]
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(pixels):
        got = f"{labels.dtype} {labels.shape}"
        raise DataError(f"{path}: expected integer labels of shape ({len(pixels)},), one for each image, got {got}")
    return Part(
        path=path,
        labels=labels.astype(np.int64),
        images=lambda rows: list(pixels[rows]),
        official=SPLIT_NAMES.get(path.stem, "train"),
        class_names=tuple(map(str, arrays["class_names"].tolist())) if "class_names" in arrays else None,
        ordered=True,
    )


def _channels_first(images: Any, path: Path) -> Pixels:
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        got = f"{images.dtype} {images.shape}"
        raise DataError(f"{path}: expected images uint8 of shape (n, H, W), (n, C, H, W) or (n, H, W, C), got {got}")
    if images.ndim == 3:
        return np.ascontiguousarray(images[:, None])
    if images.shape[1] in (1, 3):
        return np.ascontiguousarray(images)
    if images.shape[3] in (1, 3):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    raise DataError(f"{path}: expected images with 1 or 3 channels, got shape {images.shape}")
