"""Image sets as Hugging Face stores them: parquet with a column of encoded images and one of labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmastool.errors import DataError
from llmastool.training.images.part import SPLIT_NAMES, Part, Pixels, Rows, decode

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label", "labels")


def read_parquet(path: Path, size: int | None = None) -> Part:
    """Read the labels of a file; its images are decoded when they are asked for, each scaled to `size` if it is given.

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
    return Part(
        path=path,
        labels=labels.to_numpy().astype(np.int64),
        images=lambda rows: _images(path, image, rows, size),
        official=SPLIT_NAMES.get(path.name.split("-")[0], "train"),
        files=(path,),
        size=size,
    )


def _images(path: Path, column: str, rows: Rows, size: int | None) -> Sequence[Pixels]:
    import polars as pl

    try:
        encoded = pl.read_parquet(path, columns=[column])[column].struct.field("bytes")
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise DataError(f"{path}: the image column is broken ({error}); fetch the file again") from error
    found = []
    for row in rows.tolist():
        where = f"{path}, row {row}"
        if encoded[row] is None:
            raise DataError(f"{where}: the image has no bytes; the set must hold its images, not paths to them")
        found.append(decode(encoded[row], where, size))
    return found


def _struct_fields(kind: Any) -> set[str]:
    return {f.name for f in getattr(kind, "fields", [])}
