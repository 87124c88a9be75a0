"""Decoded images kept on disk by the content of what they came from, so that each file is decoded once."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from llmastool.training.images.part import Part, Pixels, Rows, stack

CACHE = Path(".cache/images")
"""Where decoded images are kept, in the folder in which a stage runs."""

VERSION = 1
"""Raised by whoever changes how images are decoded."""

WORTH = 0.5
"""Share of a part from which on all of it is decoded and kept; less is decoded as it is asked for."""


def images(part: Part, rows: Rows, cache: Path | None) -> Sequence[Pixels]:
    """Return the images at `rows` of a part, decoded now or before.

    Raises:
        DataError: an image is missing or broken, or sizes differ.
    """
    if cache is None or not part.files or len(rows) < WORTH * len(part.labels):
        return part.images(rows)
    path = cache / f"{_key(part)}.npy"
    if not path.exists():
        everything = np.arange(len(part.labels))
        whole = stack(part.images(everything), [part.where(row) for row in everything.tolist()])
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, suffix=".new", delete=False) as file:
            np.save(file, whole)
        Path(file.name).replace(path)
    return list(np.load(path, mmap_mode="r")[rows])


def _key(part: Part) -> str:
    found = hashlib.sha256(f"{VERSION} {part.size}".encode())
    for file in part.files:
        with file.open("rb") as opened:
            found.update(hashlib.file_digest(opened, "sha256").digest())
    return found.hexdigest()[:32]
