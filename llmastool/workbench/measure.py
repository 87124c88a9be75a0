"""Cheap proxies of networks that nobody trained yet."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from llmastool.seeds import derive
from llmastool.training.proxies import IMAGES, proxies
from llmastool.training.proxies_config import Name
from llmastool.trees.budget import Fell
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog
from llmastool.trees.profile import Shape
from llmastool.trees.tree import Tree


class Measure:
    """Builds a network with random weights and works out its proxies on noise: images are not seen here."""

    def __init__(self, catalog: Catalog, in_shape: Shape, classes: int, names: Sequence[Name]) -> None:
        self._catalog, self._names = catalog, names
        generator = torch.Generator().manual_seed(derive(0, "proxies", "images"))
        self._images = torch.randn(IMAGES, *in_shape[1:], generator=generator)
        self._labels = torch.arange(IMAGES) % classes

    def __call__(self, tree: Tree) -> dict[str, float]:
        """Return a network's proxies by name.

        Raises:
            Fell: at `crash`, where its code fails on real numbers.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(0, "proxies", "weights"))
            try:
                return proxies(build(tree, self._catalog), self._images, self._labels, self._names)
            except Exception as error:  # noqa: BLE001 - foreign code may raise anything, and all of it is a result
                raise Fell("crash", f"{type(error).__name__}: {error}".split("\n")[0]) from None
