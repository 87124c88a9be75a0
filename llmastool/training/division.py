"""Who is in which split: a set's own splits as far as it has them, published ones by a file, the rest by a draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmastool.canonical import Json, read_json
from llmastool.errors import DataError
from llmastool.training.images.part import SPLIT_NAMES, Part, Split
from llmastool.training.splits import Indices, sample, split

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Division:
    """The images of each split, as positions among all images of all parts."""

    rows: dict[Split, Indices]
    validation_from: Split
    """Which of the set's own splits the validation images are from."""


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How large splits are that a set does not have of its own."""

    validation: float
    """Share of all images."""
    test: float
    """Share of all images."""
    limit: int | None
    """Number of images in all; None takes all."""


def divide(
    parts: Sequence[Part], names: Sequence[str], shares: Shares, published: Path | None, path: Path, seed: int
) -> Division:
    """Divide a set.

    Args:
        parts: of the set.
        names: of the classes that are taken: labels from 0.
        shares: of the splits that are drawn.
        published: file of published splits; see `read_published`.
        path: the set, for messages.
        seed: the seed of the whole run.

    Raises:
        DataError: there are not so many images, or a class is missing in a split.
    """
    labels = np.concatenate([part.labels for part in parts])
    source = np.concatenate([np.full(len(part.labels), SPLITS.index(part.official)) for part in parts])
    own = {name: np.flatnonzero((source == i) & (labels < len(names))) for i, name in enumerate(SPLITS)}
    validation_from: Split = "validation" if len(own["validation"]) else "train"
    if published is not None:
        own, validation_from = _by_file(own, validation_from, parts, read_published(published), published)
    count = sum(map(len, own.values()))
    total = count if shares.limit is None else shares.limit
    if total > count:
        raise DataError(f"{path}: data.limit asks for {total} images, and there are {count}")
    drawn_from: tuple[Split, ...] = ("validation", "test")
    found: dict[str, Indices] = {n: _sampled(own[n], labels, total, count, seed, n) for n in drawn_from}
    left = total - sum(map(len, found.values()))
    pool = own["train"][sample(labels[own["train"]], left, seed, "train")]
    # Shares are of all images, but they are taken out of those that are in no split of the set's own.
    asked = {"validation": shares.validation, "test": shares.test}
    drawn = {name: share * total / max(len(pool), 1) for name, share in asked.items() if not len(found[name])}
    divided = split(labels[pool], drawn, "train", seed, tuple(names)) if drawn else {"train": np.arange(len(pool))}
    found |= {name: pool[rows] for name, rows in divided.items()}
    rows: dict[Split, Indices] = {name: found[name] for name in SPLITS}
    for name, members in rows.items():
        missing = set(range(len(names))) - set(labels[members].tolist())
        if missing:
            lacking = [names[i] for i in sorted(missing)][:8]
            raise DataError(f"{path}: the {name} split has no image of {lacking}; take more images (data.limit)")
    return Division(rows=rows, validation_from=validation_from)


def _sampled(own: Indices, labels: Indices, total: int, count: int, seed: int, name: str) -> Indices:
    return own[sample(labels[own], int(total * len(own) / count + 0.5), seed, name)]


def read_published(path: Path) -> dict[str, Indices]:
    """Read a file of published splits: JSON that maps names to positions, as NAS-Bench-201's are (Dong & Yang 2020).

    `train` and `valid` are positions among the set's training images, `xvalid` and `xtest` among its test images. A
    value is a list of whole numbers, or `["int", [...]]` with the numbers as text.

    Raises:
        DataError: it is no such file.
    """
    try:
        value = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable file of splits ({error})") from error
    known = {"train", "valid", "validation", "xvalid", "xtest"}
    if not isinstance(value, dict) or not value or set(value) - known:
        found = sorted(value)[:8] if isinstance(value, dict) else type(value).__name__
        raise DataError(f"{path}: expected a mapping with keys of {', '.join(sorted(known))}, found {found}")
    return {name: _positions(listed, f"{path}: {name}") for name, listed in value.items()}


def _positions(listed: Json, where: str) -> Indices:
    if isinstance(listed, list) and len(listed) == 2 and listed[0] == "int" and isinstance(listed[1], list):
        listed = listed[1]
    try:
        found = np.array([int(one) for one in listed], np.int64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: expected a list of whole numbers ({error})") from error
    if len(np.unique(found)) != len(found):
        raise DataError(f"{where}: a position is given twice")
    return np.sort(found)


def _by_file(
    own: dict[Split, Indices], validation_from: Split, parts: Sequence[Part], published: dict[str, Indices], path: Path
) -> tuple[dict[Split, Indices], Split]:
    unordered = next((part for part in parts if not part.ordered), None)
    if unordered is not None:
        raise DataError(
            f"{path}: says images by their place in the published files, and {unordered.path} holds them in an order "
            "of its own; take the published archive"
        )

    def picked(name: str, of: Split) -> Indices:
        positions, everything = published[name], own[of]
        if len(positions) and not 0 <= positions[0] <= positions[-1] < len(everything):
            raise DataError(f"{path}: {name}: expected positions from 0 to {len(everything) - 1}, got {positions[-1]}")
        return everything[positions]

    by_split = {SPLIT_NAMES.get(name, name): name for name in published}
    found = dict(own)
    if "train" in by_split:
        found["train"] = picked("train", "train")
    if "validation" in by_split:
        found["validation"], validation_from = picked(by_split["validation"], "train"), "train"
        if "train" not in by_split or set(found["validation"].tolist()) & set(found["train"].tolist()):
            raise DataError(f"{path}: expected `train` beside `valid`, with no image in both")
    if "xvalid" in published or "xtest" in published:
        if not {"xvalid", "xtest"} <= set(published) or set(published["xvalid"].tolist()) & set(
            published["xtest"].tolist()
        ):
            raise DataError(f"{path}: expected both `xvalid` and `xtest`, with no image in both")
        found["validation"], found["test"] = picked("xvalid", "test"), picked("xtest", "test")
        validation_from = "test"
    return found, validation_from
