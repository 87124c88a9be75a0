"""One part of an image set, whatever it is stored as, and what is alike in all of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from llmastool.errors import DataError

Split: TypeAlias = Literal["train", "validation", "test"]
SPLIT_NAMES: dict[str, Split] = {
    "train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test",
}  # fmt: skip
"""What sets call their splits, in names of files and folders."""
Pixels: TypeAlias = NDArray[np.uint8]
"""One image `(channels, height, width)`, with 1 channel (grey) or 3."""
Rows: TypeAlias = NDArray[np.int64]
"""Positions of images in their part."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some images of a set with their labels. Images are decoded when they are asked for."""

    path: Path
    """The file, or the folder."""
    labels: NDArray[np.int64]
    """Class of every image, shape `(images,)`."""
    images: Callable[[Rows], Sequence[Pixels]] = field(repr=False)
    """Returns the images at such rows. Raises `DataError` where one is missing or broken; the message names it."""
    official: Split = "train"
    """Which of the set's own splits this is; `train` also where it has none."""
    class_names: tuple[str, ...] | None = None
    """Names of the classes, where the set says them."""
    ordered: bool = False
    """Whether the images stand in the order in which the set was published, to which official splits refer."""
    files: tuple[Path, ...] = ()
    """What the decoded images depend on; empty where there is nothing to decode."""
    size: int | None = None
    """Side to which images are scaled when they are decoded, in pixels."""
    place: Callable[[int], str] | None = field(default=None, repr=False)
    """Says where the image at a row is, for messages."""

    def where(self, row: int) -> str:
        """Return where the image at a row is, for messages."""
        return self.place(row) if self.place is not None else f"{self.path}, row {row}"


def decode(encoded: bytes, where: str, size: int | None = None) -> Pixels:
    """Decode one image of any format that Pillow knows.

    Args:
        encoded: the file's bytes.
        where: what it is, for messages.
        size: if given, the image is scaled so that its shorter side is so many pixels, and the square in the middle is
            taken.

    Raises:
        DataError: the image is broken, or not of 8 bits a channel.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(encoded)) as image:
            if image.mode not in ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr"):
                raise DataError(f"{where}: expected 8 bits a channel, got an image of mode {image.mode}")
            plain = image.convert("L" if image.mode in ("1", "L") else "RGB")
            if size is not None:
                plain = ImageOps.fit(plain, (size, size), Image.Resampling.BICUBIC)
    except (UnidentifiedImageError, OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: the image is broken ({error})") from error
    pixels = np.asarray(plain)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def stack(images: Sequence[Pixels], names: Sequence[str]) -> Pixels:
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
                f"{image.shape}; set data.size, or resize all images to one size"
            )
    return np.stack([image if len(image) == channels else np.repeat(image, channels, axis=0) for image in images])
