"""Read image sets as they lie around: NumPy archives and Hugging Face image parquet."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from llmastool.errors import DataError

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label", "labels")


@dataclass(frozen=True)
class NpzPart:
    """A NumPy archive with `images` and `labels`."""

    path: Path
    labels: NDArray[np.int64]
    """Class of every image, shape `(images,)`."""
    pixels: NDArray[np.uint8] = field(repr=False)
    """Shape `(images, channels, height, width)`."""
    class_names: tuple[str, ...] | None = None
    """Names of the classes, where the file says them."""

    def images(self, rows: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        """Return the images at `rows`, each `(channels, height, width)`."""
        return list(self.pixels[rows])


@dataclass(frozen=True)
class ParquetPart:
    """A parquet file with a column of encoded images and one of labels. Images are decoded when they are asked for."""

    path: Path
    labels: NDArray[np.int64]
    """Class of every image, shape `(images,)`."""
    column: str
    """Name of the image column, a struct with the field `bytes`."""
    class_names: tuple[str, ...] | None = None
    """Names of the classes, where the file says them."""

    def images(self, rows: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        """Return the images at `rows`, each `(channels, height, width)`, with 1 channel (grey) or 3.

        Raises:
            DataError: an image is missing, broken, or not of 8 bits a channel; the message names file and row.
        """
        import polars as pl

        try:
            encoded = pl.read_parquet(self.path, columns=[self.column])[self.column].struct.field("bytes")
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise DataError(f"{self.path}: the image column is broken ({error}); fetch the file again") from error
        return [_decode(encoded[row], f"{self.path}, row {row}") for row in rows.tolist()]


Part: TypeAlias = NpzPart | ParquetPart
"""One file of an image set."""


def read_npz(path: Path) -> NpzPart:
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
    names = tuple(str(n) for n in arrays["class_names"].tolist()) if "class_names" in arrays else None
    return NpzPart(path, labels.astype(np.int64), pixels, names)


def read_parquet(path: Path) -> ParquetPart:
    """Read the labels of a Hugging Face image parquet file.

    Raises:
        DataError: the file is broken, or lacks an image or a label column.
    """
    import polars as pl

    try:
        schema = pl.read_parquet_schema(path)
        image = next((c for c in IMAGE_COLUMNS if "bytes" in _struct_fields(schema.get(c))), None)
        label = next((c for c in LABEL_COLUMNS if c in schema and schema[c].is_integer()), None)
        if image is None or label is None:
            raise DataError(
                f"{path}: expected an image column ({' or '.join(IMAGE_COLUMNS)}: a struct with bytes) and an integer "
                f"label column ({', '.join(LABEL_COLUMNS)}), found {dict(schema)}"
            )
        labels = pl.read_parquet(path, columns=[label])[label]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise DataError(f"{path}: not a readable parquet file ({error}); fetch the file again") from error
    if labels.null_count():
        raise DataError(f"{path}, row {labels.is_null().arg_max()}: the label is missing")
    return ParquetPart(path, labels.to_numpy().astype(np.int64), image)


def stack(images: Sequence[NDArray[np.uint8]], names: Sequence[str]) -> NDArray[np.uint8]:
    """Stack images to `(n, C, H, W)`; where some are grey and some are not, the grey ones get three equal channels.

    Raises:
        DataError: sizes differ; the message names the first image that does.
    """
    channels = max(len(image) for image in images)
    size = images[0].shape[1:]
    for image, name in zip(images, names, strict=True):
        if image.shape[1:] != size or len(image) not in (1, channels):
            raise DataError(
                f"{name}: expected an image like the first, {channels} channels of {size[0]}x{size[1]} pixels, got "
                f"{image.shape}; resize all images to one size"
            )
    return np.stack([image if len(image) == channels else np.repeat(image, channels, axis=0) for image in images])


def _channels_first(images: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        got = f"{images.dtype} {images.shape}"
        raise DataError(f"{path}: expected images uint8 of shape (n, H, W), (n, C, H, W) or (n, H, W, C), got {got}")
    if images.ndim == 3:
        return images[:, None]
    if images.shape[1] in (1, 3):
        return images
    if images.shape[3] in (1, 3):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    raise DataError(f"{path}: expected images with 1 or 3 channels, got shape {images.shape}")


def _struct_fields(kind: Any) -> set[str]:
    return {f.name for f in getattr(kind, "fields", [])}


def _decode(encoded: bytes | None, where: str) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    if encoded is None:
        raise DataError(f"{where}: the image has no bytes; the set must hold its images, not paths to them")
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            if image.mode in ("1", "L"):
                return np.asarray(image.convert("L"))[None]
            if image.mode in ("P", "RGB", "RGBA", "LA", "CMYK", "YCbCr"):
                return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
            raise DataError(f"{where}: expected 8 bits a channel, got an image of mode {image.mode}")
    except (UnidentifiedImageError, OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: the image is broken ({error})") from error
