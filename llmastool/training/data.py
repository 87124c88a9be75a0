"""Prepare an image set once: one sample, three splits, one form, whatever it came as.

`prepare` writes a folder with images and labels of each split and `meta.json`; everything later reads only that folder,
and maps it into memory. Equal inputs and seed give equal bytes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmastool.canonical import Json, digest, digest_bytes, dumps, read_json, write_json
from llmastool.config import require
from llmastool.errors import DataError
from llmastool.training.division import SPLITS, Shares, divide
from llmastool.training.images.cache import images
from llmastool.training.images.part import Part, Split, stack
from llmastool.training.images.read import read
from llmastool.training.splits import Indices

if TYPE_CHECKING:
    from torch import Tensor

META = "meta.json"

ORIENTED = frozenset({"digits", "mnist", "emnist", "kmnist", "qmnist", "usps", "svhn"})
"""Image sets, by name, in which a mirrored image means something else or nothing."""

SUBSETS = {"imagenet16-120": 120}
"""Image sets, by name, that are the first classes of a larger one."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which image set, how much of it, and how it is divided."""

    name: str = "digits"
    """Name of the set, for readers and for `flip`."""
    path: str = "data/digits"
    """A folder or file of images; `llmastool.training.images.read` says of which kinds."""
    limit: int | None = None
    """Number of images taken in all, each class in proportion; None takes all."""
    classes: int | None = None
    """Number of classes that are taken, the first ones; None takes all, or as many as the name says (`SUBSETS`)."""
    size: int | None = None
    """Side in pixels to which encoded images are scaled, the square in their middle; None leaves them as they are."""
    splits: str | None = None
    """File of published splits, e.g. those of NAS-Bench-201; see `llmastool.training.division`."""
    validation: float = 0.2
    """Share of all images that validates, between 0 and 1; not used where the set comes with a validation split."""
    test: float = 0.2
    """Share of all images that tests, between 0 and 1; not used where the set comes with a test split."""
    flip: bool | None = None
    """Whether a mirrored image keeps its label; None says no for sets of digits and letters, known by name."""

    def __post_init__(self) -> None:
        require(bool(self.name), "name", "a name", self.name)
        require(bool(self.path), "path", "a folder or file", self.path)
        require(self.limit is None or self.limit >= 1, "limit", "1 or more, or null", self.limit)
        require(self.classes is None or self.classes >= 2, "classes", "2 or more, or null", self.classes)
        require(self.size is None or self.size >= 1, "size", "1 or more, or null", self.size)
        require(0 < self.validation < 1, "validation", "a share between 0 and 1", self.validation)
        require(0 < self.test < 1, "test", "a share between 0 and 1", self.test)
        require(self.validation + self.test < 1, "test", f"less than 1 - validation ({self.validation})", self.test)


def prepare(config: DataConfig, out: Path, seed: int, cache: Path | None = None) -> dict[str, Json]:
    """Write the prepared folder `out`, whole or not at all, in place of what was there.

    Args:
        config: which images.
        out: the folder.
        seed: the seed of the whole run.
        cache: folder of decoded images, which are kept there by content; None keeps none.

    Returns:
        What `meta.json` holds: `name`, `classes`, `class_names`, `shape` `[C, H, W]`, `counts` by split, `mean` and
        `std` by channel of the train split (pixels in 0..1), `flip`, `validation_from` (which of the set's own splits
        the validation images are from), `digest` over all images and labels, and `asked` as the function of that name
        gives it.

    Raises:
        DataError: the source is missing, broken or unfit; the message names the file, and the row where there is one.
    """
    path = Path(config.path)
    parts = read(path, config.size)
    names = _class_names(parts, path, config.classes or SUBSETS.get(config.name))
    shares = Shares(validation=config.validation, test=config.test, limit=config.limit)
    division = divide(parts, names, shares, Path(config.splits) if config.splits else None, path, seed)
    pixels = _gather(parts, division.rows, cache)
    everything = np.concatenate([part.labels for part in parts])
    labels = {name: everything[rows] for name, rows in division.rows.items()}
    meta = {**_describe(config, names, pixels, labels, division.validation_from), "asked": asked(config, seed)}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        for name in SPLITS:
            # Channels last, as trainings want them.
            for file, array in zip(files(name), (pixels[name].transpose(0, 2, 3, 1), labels[name]), strict=True):
                np.save(fresh / file, np.ascontiguousarray(array))
        write_json(fresh / META, meta)
        if out.exists():
            out.rename(Path(scratch) / "old")
        fresh.rename(out)
    return meta


def asked(config: DataConfig, seed: int) -> str:
    """Return a hash over what a prepared folder was asked to hold; where its images lie is no part of it."""
    return digest({**asdict(config), "path": "", "seed": seed})[:16]


def summary(meta: Mapping[str, Json]) -> str:
    """Say in a line what a prepared folder holds."""
    counts = ", ".join(f"{number} {name}" for name, number in meta["counts"].items())
    return f"{meta['name']}: {counts} images of {meta['shape']} in {meta['classes']} classes"


def files(split: Split) -> tuple[str, str]:
    """Return the names of the files that hold a split's images and labels in a prepared folder."""
    return f"{split}-images.npy", f"{split}-labels.npy"


def load(folder: Path, split: Split) -> tuple[Tensor, Tensor]:
    """Return one split of a prepared folder: images uint8 `(n, C, H, W)` and labels int64 `(n,)`.

    The images lie in memory channels last. They are mapped from the file, which processes share; what is written to
    them does not reach it.

    Raises:
        DataError: a file is missing or broken.
    """
    import torch

    pixels, labels = (_mapped(folder / file) for file in files(split))
    channels, height, width = load_meta(folder)["shape"]
    shape = (len(labels), height, width, channels)
    if (pixels.dtype, pixels.shape, labels.dtype, labels.ndim) != (np.uint8, shape, np.int64, 1):
        got = f"{pixels.dtype} {pixels.shape} and {labels.dtype} {labels.shape}"
        raise DataError(
            f"{folder}: expected {split} images uint8 {shape} and as many labels int64, got {got}; prepare the data "
            "again"
        )
    return torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(labels)


def _mapped(path: Path) -> NDArray[Any]:
    if not path.is_file():
        raise DataError(f"{path}: no such file; prepare the data first (`dvc repro prepare`)")
    try:
        found: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: not a readable array ({error}); prepare the data again") from error
    return found


def load_meta(folder: Path) -> dict[str, Json]:
    """Return the meta of a prepared folder; `prepare` says what is in it.

    Raises:
        DataError: the folder was not prepared, or its meta is broken.
    """
    path = folder / META
    try:
        return dict(read_json(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}; prepare the data again (`dvc repro prepare`)") from error


def _class_names(parts: Sequence[Part], path: Path, taken: int | None) -> tuple[str, ...]:
    listed = (path if path.is_dir() else path.parent) / "classes.txt"
    names = next((part.class_names for part in parts if part.class_names), None)
    if names is None and listed.is_file():
        names = tuple(line.strip() for line in listed.read_text().splitlines() if line.strip())
    if names is None:
        highest = max((int(part.labels.max()) for part in parts if len(part.labels)), default=-1)
        names = tuple(str(i) for i in range(highest + 1))
    for part in parts:
        wrong = np.flatnonzero((part.labels < 0) | (part.labels >= len(names)))
        if len(wrong):
            got = int(part.labels[wrong[0]])
            raise DataError(f"{part.where(int(wrong[0]))}: expected a label from 0 to {len(names) - 1}, got {got}")
    if not any(len(part.labels) for part in parts):
        raise DataError(f"{path}: holds no image")
    if len(names) < 2:
        raise DataError(f"{path}: expected 2 classes or more, got {len(names)}")
    if taken is not None and taken > len(names):
        raise DataError(f"{path}: data.classes asks for {taken} classes, and there are {len(names)}")
    return names[:taken]


def _gather(parts: Sequence[Part], rows: Mapping[Split, Indices], cache: Path | None) -> dict[Split, NDArray[np.uint8]]:
    """Decode the images of all splits, each file once; shape `(n, C, H, W)` for each split."""
    wanted = np.sort(np.concatenate([rows[name] for name in SPLITS]))
    decoded: list[NDArray[np.uint8]] = []
    origins: list[str] = []
    start = 0
    for part in parts:
        end = start + len(part.labels)
        own = wanted[(wanted >= start) & (wanted < end)] - start
        decoded += images(part, own, cache) if len(own) else []
        origins += [part.where(row) for row in own.tolist()]
        start = end
    everything = stack(decoded, origins)
    return {name: everything[np.searchsorted(wanted, rows[name])] for name in SPLITS}


def _describe(
    config: DataConfig,
    names: tuple[str, ...],
    images: Mapping[Split, NDArray[np.uint8]],
    labels: Mapping[Split, NDArray[np.int64]],
    validation_from: Split,
) -> dict[str, Json]:
    mean, std = _moments(images["train"])
    head: dict[str, Json] = {
        "name": config.name,
        "classes": len(names),
        "class_names": list(names),
        "shape": list(images["train"].shape[1:]),
        "counts": {name: len(images[name]) for name in SPLITS},
        "mean": mean,
        "std": std,
        "validation_from": validation_from,
        "flip": config.flip if config.flip is not None else config.name.lower() not in ORIENTED,
    }
    raw = [part for name in SPLITS for part in (images[name].tobytes(), labels[name].astype("<i8").tobytes())]
    return {**head, "digest": digest_bytes(dumps(head).encode(), *raw)}


def _moments(images: NDArray[np.uint8]) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel, pixels in 0..1.

    They are computed from counts of whole numbers, so that they do not differ between machines.
    """
    mean, std = [], []
    for channel in range(images.shape[1]):
        counts = np.bincount(images[:, channel].ravel(), minlength=256).tolist()
        n = sum(counts)
        first = sum(v * c for v, c in enumerate(counts))
        second = sum(v * v * c for v, c in enumerate(counts))
        variance = (second * n - first * first) / (n * n)
        mean.append(round(first / n / 255, 6))
        # A channel without contrast is left as it is, rather than divided by nothing.
        std.append(round(variance**0.5 / 255, 6) or 1.0)
    return mean, std
