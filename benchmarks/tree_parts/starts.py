"""Networks of other packages as trees to start from: small ones that run on small images."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.mining_parts.forked import Tell, Work
from benchmarks.tree_parts.read_in import maker, originals
from llmastool.canonical import Json
from llmastool.errors import LLMasToolError
from llmastool.registry.store import Registry
from llmastool.trees.budget import Budget
from llmastool.trees.catalog import Catalog
from llmastool.trees.gates import check
from llmastool.trees.read import read_from


def prepare(request: Json) -> tuple[Sequence[Json], Work]:
    """Read the bundles, and make the original packages importable.

    Args:
        request: `bundles`, a file; `paths`, from which the packages can be imported; `in_shape`, `classes`, `budget`
            and `slots`, most slots of a network; `items`, each with a `package` and the `name` of a network.
    """
    bundles = originals(request)

    def work(item: Json, tell: Tell) -> None:
        catalog = Catalog(Registry([], bundles))
        try:
            _, tree = read_from(maker(item["package"], item["name"], num_classes=request["classes"]), catalog)
            budget = Budget(**request["budget"])
            network = check(tree, catalog, tuple(request["in_shape"]), request["classes"], budget)
        except LLMasToolError as error:
            tell({"fell": "start", "message": str(error)[:300]})
            return
        if len(network.profile.slots) <= request["slots"]:
            tell({"passed": "start", "tree": tree.to_json(), "slots": len(network.profile.slots)})

    return request["items"], work
