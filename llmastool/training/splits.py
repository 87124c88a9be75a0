"""Stratified samples and splits: every class keeps its share, and one seed decides which image goes where."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmastool import seeds
from llmastool.errors import DataError

Indices = NDArray[np.int64]
"""Positions of images in their source, ascending."""


def sample(labels: NDArray[np.int64], count: int, seed: int, name: str) -> Indices:
    """Return exactly `count` positions, each class in proportion.

    Args:
        labels: class of every image, shape `(images,)`.
        count: how many to take, at most `len(labels)`.
        seed: the seed of the whole run.
        name: what the draw is for; draws of different names are independent.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    shares = _apportion(sizes, count)
    rng = seeds.generator(seed, "data", "sample", name)
    taken = [rng.permutation(np.flatnonzero(labels == c))[:n] for c, n in zip(classes, shares, strict=True)]
    return np.sort(np.concatenate(taken)) if taken else np.empty(0, np.int64)


def split(
    labels: NDArray[np.int64], shares: dict[str, float], rest: str, seed: int, names: tuple[str, ...]
) -> dict[str, Indices]:
    """Divide all positions among named splits, each class by the same shares.

    Args:
        labels: class of every image, shape `(images,)`.
        shares: for each split but `rest`, its share of `labels`, 0 to 1.
        rest: the split that takes what is left.
        seed: the seed of the whole run.
        names: names of the classes; every one must get an image in every split.

    Raises:
        DataError: a class has too few images to be in every split.
    """
    rng = seeds.generator(seed, "data", "split")
    parts: dict[str, list[Indices]] = {name: [] for name in (*shares, rest)}
    for index, class_name in enumerate(names):
        positions = rng.permutation(np.flatnonzero(labels == index))
        sizes = {name: int(share * len(positions) + 0.5) for name, share in shares.items()}
        sizes[rest] = len(positions) - sum(sizes.values())
        if min(sizes.values()) < 1:
            raise DataError(
                f"class {class_name!r} has {len(positions)} images, too few for the splits {', '.join(parts)}: each "
                f"needs 1 or more of it and would get {sizes}; take more images (data.limit) or other shares"
            )
        ends = np.cumsum([sizes[name] for name in parts])
        for name, part in zip(parts, np.split(positions, ends[:-1]), strict=True):
            parts[name].append(part)
    return {name: np.sort(np.concatenate(part)) for name, part in parts.items()}


def _apportion(sizes: NDArray[np.int64], count: int) -> list[int]:
    """Divide `count` in proportion to `sizes` by largest remainders, so that the parts sum to it exactly."""
    total = int(sizes.sum())
    exact = [(int(size) * count // total, int(size) * count % total) for size in sizes]
    parts = [whole for whole, _ in exact]
    by_remainder = sorted(range(len(parts)), key=lambda i: (-exact[i][1], i))
    for i in by_remainder[: count - sum(parts)]:
        parts[i] += 1
    return parts
