"""A catalog over the small registry, and networks to edit."""

from pathlib import Path

import pytest

from llmastool.start import skeleton
from llmastool.start_config import Skeleton
from llmastool.trees import borrow
from llmastool.trees.catalog import Catalog
from llmastool.trees.observe import Network
from llmastool.trees.tree import Tree

IN_SHAPE = (2, 3, 16, 16)


@pytest.fixture(scope="session")
def catalog(registry_folder: Path) -> Catalog:
    return Catalog.open(registry_folder)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Tree]:
    """The trees that are built to be looked at, from here on."""
    trees: list[Tree] = []
    original = borrow.build_captured

    def watched(tree: Tree, catalog: Catalog) -> object:
        trees.append(tree)
        return original(tree, catalog)

    monkeypatch.setattr(borrow, "build_captured", watched)
    return trees


@pytest.fixture(scope="session")
def mined_tree(catalog: Catalog) -> Tree:
    return Tree(catalog.by_name("tiny.nets.Net"), {"num_classes": 7})


@pytest.fixture(scope="session")
def mined(catalog: Catalog, mined_tree: Tree) -> Network:
    return Network(mined_tree, catalog, IN_SHAPE)


@pytest.fixture(scope="session")
def plain(catalog: Catalog) -> Network:
    return Network(skeleton(Skeleton(channels=4, cells=1, stages=2), 3, 7), catalog, IN_SHAPE)
