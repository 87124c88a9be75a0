"""Prepare an image set once: one sample, three splits, one form, whatever it came as.

`prepare` writes a folder with `train.npz`, `validation.npz`, `test.npz` and `meta.json`; everything later reads only
that folder. Equal inputs and seed give equal bytes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from llmastool.canonical import Json, digest_bytes, dumps, read_json, write_json
from llmastool.config import require
from llmastool.errors import DataError
from llmastool.training.images import Part, read_npz, read_parquet, stack
from llmastool.training.splits import Indices, sample, split

if TYPE_CHECKING:
    from torch import Tensor

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
META = "meta.json"

ORIENTED = frozenset({"digits", "mnist", "emnist", "kmnist", "qmnist", "usps", "svhn"})
"""Image sets, by name, in which a mirrored image means something else or nothing."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which image set, how much of it, and how it is divided."""

    name: str = "digits"
    """Name of the set, for readers and for `flip`."""
    path: str = "data/digits"
    """A folder or file: `*.npz` with `images` and `labels`, or Hugging Face image parquet (`train-*`, `test-*`)."""
    limit: int | None = None
    """Number of images taken in all, each class in proportion; None takes all."""
    validation: float = 0.2
    """Share of all images that validates, between 0 and 1."""
    test: float = 0.2
    """Share of all images that tests, between 0 and 1; not read where the set comes with a test split."""
    flip: bool | None = None
    """Whether a mirrored image keeps its label; None says no for sets of digits and letters, known by name."""

    def __post_init__(self) -> None:
        require(bool(self.name), "name", "a name", self.name)
        require(bool(self.path), "path", "a folder or file", self.path)
        require(self.limit is None or self.limit >= 1, "limit", "1 or more, or null", self.limit)
        require(0 < self.validation < 1, "validation", "a share between 0 and 1", self.validation)
        require(0 < self.test < 1, "test", "a share between 0 and 1", self.test)
        require(self.validation + self.test < 1, "test", f"less than 1 - validation ({self.validation})", self.test)


def prepare(config: DataConfig, out: Path, seed: int) -> dict[str, Json]:
    """Write the prepared folder `out`, whole or not at all, in place of what was there.

    Returns:
        What `meta.json` holds: `name`, `classes`, `class_names`, `shape` `[C, H, W]`, `counts` by split, `mean` and
        `std` by channel of the train split (pixels in 0..1), `flip`, and `digest` over all images and labels.

    Raises:
        DataError: the source is missing, broken or unfit; the message names the file, and the row where there is one.
    """
    parts = _read_parts(Path(config.path))
    names = _class_names(parts, Path(config.path))
    rows = _divide(config, parts, names, seed)
    images = _gather(parts, rows)
    labels = np.concatenate([part.labels for part in parts])
    meta = _describe(config, names, images, {name: labels[rows[name]] for name in SPLITS})
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        for name in SPLITS:
            # Not compressed: the bytes then depend on no version of zlib. NumPy stamps entries with a fixed time.
            np.savez(fresh / f"{name}.npz", images=images[name], labels=labels[rows[name]])
        write_json(fresh / META, meta)
        if out.exists():
            out.rename(Path(scratch) / "old")
        fresh.rename(out)
    return meta


def load(folder: Path, split: Split) -> tuple[Tensor, Tensor]:
    """Return one split of a prepared folder: images uint8 `(n, C, H, W)` and labels int64 `(n,)`.

    Raises:
        DataError: the file is missing or broken.
    """
    import torch

    path = folder / f"{split}.npz"
    if not path.is_file():
        raise DataError(f"{path}: no such file; prepare the data first (`dvc repro prepare`)")
    part = read_npz(path)
    return torch.from_numpy(part.pixels), torch.from_numpy(part.labels)


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


def _read_parts(path: Path) -> list[Part]:
    if not path.exists():
        raise DataError(
            f"{path}: no such file or folder; get it with `dvc pull` or `dvc update data.dvc`, or set data.path to an "
            "image set that you have"
        )
    if path.is_file():
        if path.suffix not in (".npz", ".parquet"):
            raise DataError(f"{path}: expected a .npz or .parquet file")
        return [read_npz(path) if path.suffix == ".npz" else read_parquet(path)]
    archives = sorted(path.glob("*.npz"))
    tables = sorted([*path.glob("train-*.parquet"), *path.glob("test-*.parquet")])
    if bool(archives) == bool(tables):
        found = sorted(p.name for p in path.iterdir())[:8]
        raise DataError(f"{path}: expected either *.npz or train-*.parquet files, found {found or 'an empty folder'}")
    parts: list[Part] = [*map(read_npz, archives), *map(read_parquet, tables)]
    if all(_is_test(part) for part in parts):
        raise DataError(f"{path}: holds a test split but no train-* file")
    return parts


def _is_test(part: Part) -> bool:
    return part.path.stem == "test" or part.path.name.startswith("test-")


def _class_names(parts: Sequence[Part], path: Path) -> tuple[str, ...]:
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
            raise DataError(f"{part.path}, row {wrong[0]}: expected a label from 0 to {len(names) - 1}, got {got}")
    if not any(len(part.labels) for part in parts):
        raise DataError(f"{path}: holds no image")
    if len(names) < 2:
        raise DataError(f"{path}: expected 2 classes or more, got {len(names)}")
    return names


def _divide(config: DataConfig, parts: Sequence[Part], names: tuple[str, ...], seed: int) -> dict[str, Indices]:
    """Return for each split the positions of its images among all images of all parts."""
    labels = np.concatenate([part.labels for part in parts])
    official = np.concatenate([np.full(len(part.labels), _is_test(part)) for part in parts])
    pool, test = np.flatnonzero(~official), np.flatnonzero(official)
    total = len(labels) if config.limit is None else config.limit
    if total > len(labels):
        raise DataError(f"{config.path}: data.limit asks for {total} images, and there are {len(labels)}")
    from_test = int(total * len(test) / len(labels) + 0.5)
    pool = pool[sample(labels[pool], total - from_test, seed, "train")]
    test = test[sample(labels[test], from_test, seed, "test")]
    if not len(test):
        shares = {"validation": config.validation, "test": config.test}
        divided = split(labels[pool], shares, "train", seed, names)
        return {name: pool[rows] for name, rows in divided.items()}
    # The share is of all images, but it is taken out of those that are not official test images.
    share = config.validation * total / max(len(pool), 1)
    divided = split(labels[pool], {"validation": share}, "train", seed, names)
    missing = set(range(len(names))) - set(labels[test].tolist())
    if missing:
        lacking = [names[i] for i in sorted(missing)]
        raise DataError(f"{config.path}: the test split has no image of {lacking}; take more images (data.limit)")
    return {**{name: pool[rows] for name, rows in divided.items()}, "test": test}


def _gather(parts: Sequence[Part], rows: dict[str, Indices]) -> dict[str, NDArray[np.uint8]]:
    """Decode the images of all splits, each file once; shape `(n, C, H, W)` for each split."""
    wanted = np.sort(np.concatenate([rows[name] for name in SPLITS]))
    decoded: list[NDArray[np.uint8]] = []
    origins: list[str] = []
    start = 0
    for part in parts:
        end = start + len(part.labels)
        own = wanted[(wanted >= start) & (wanted < end)] - start
        decoded += part.images(own) if len(own) else []
        origins += [f"{part.path}, row {row}" for row in own.tolist()]
        start = end
    everything = stack(decoded, origins)
    return {name: everything[np.searchsorted(wanted, rows[name])] for name in SPLITS}


def _describe(
    config: DataConfig,
    names: tuple[str, ...],
    images: dict[str, NDArray[np.uint8]],
    labels: dict[str, NDArray[np.int64]],
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
