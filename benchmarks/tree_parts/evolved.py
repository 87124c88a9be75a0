"""Evolved trees as files: each is written out, and built here for what the file has to agree with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.mining_parts.alone import digest_of, written_down
from benchmarks.mining_parts.forked import Tell, Work
from benchmarks.mining_parts.modules import seed_all
from llmastool.canonical import Json
from llmastool.modes import quiet
from llmastool.registry.call import example
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog
from llmastool.trees.export import export
from llmastool.trees.tree import Tree


def prepare(request: Json) -> tuple[Sequence[Json], Work]:
    """Open the registry.

    Args:
        request: `registry`, a folder; `in_shape`; `items`, each with a `tree`.
    """
    catalog = Catalog.open(Path(request["registry"]))
    shape = tuple(request["in_shape"])

    def work(item: Json, tell: Tell) -> None:
        try:
            tree = Tree.from_json(item["tree"])
            text = export(tree, catalog.bundles, in_shape=shape, title=f"Evolved tree {tree.id}")
            seed_all()
            with quiet():
                net = build(tree, catalog)
                x = example(shape, "float32", seed=1)
                digest = digest_of(net, [x], {})
        except Exception as error:  # noqa: BLE001 - the point is to find them
            tell({"fell": "export", "message": f"{type(error).__name__}: {error}"[:300]})
            return
        tell({"text": text, "given": {"args": [written_down(x, x)], "kwargs": {}}, "digest": digest})

    return request["items"], work
