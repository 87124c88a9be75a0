"""What trainings that were stopped early say of networks: their accuracies, carried over to the scale of whole ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmastool.curves import Curve, expected
from llmastool.planner.plan import Record


@dataclass(frozen=True, kw_only=True)
class Told:
    """Observations: one for every whole training, and where some were stopped, one for every rung of every training."""

    trees: list[str]
    accuracies: list[float]
    """Validation accuracies in percent, those at a rung carried over to the end."""
    rungs: list[float]
    """Binary logarithm of the share of the epochs that was trained: 0 at the end, less before it."""


def told(records: Sequence[Record]) -> Told:
    """Return what there is to learn from.

    An accuracy at a rung is carried over to the end as `llmastool.curves` expects it; a rung of which nothing came to
    the end says nothing. How far what is expected is off as a whole is left to the rung as a covariate of the model.
    """
    found = Told(trees=[], accuracies=[], rungs=[])
    known = [record for record in records if record.profile is not None]
    for record in known:
        if record.accuracy is not None:
            found.trees.append(record.tree)
            found.accuracies.append(record.accuracy)
            found.rungs.append(0.0)
    if all(record.accuracy is not None or not record.partial for record in known):
        return found
    curves = {r.tree: Curve((r.plan or {}).get("parent"), r.partial, r.accuracy) for r in known}
    for share in sorted({share for record in known for share in record.partial}):
        for tree, accuracy in expected(curves, share).items():
            found.trees.append(tree)
            found.accuracies.append(accuracy)
            found.rungs.append(math.log2(share))
    return found


def carried(records: Sequence[Record]) -> list[Record]:
    """Return the same records; what was stopped has the accuracy to which the last that was seen of it is carried over.

    What says nothing of the end keeps None.
    """
    found = told(records)
    # Rungs come in order, so that the last one of a network stays.
    ends = dict(zip(found.trees, found.accuracies, strict=True))
    return [replace(r, accuracy=ends.get(r.tree)) if r.accuracy is None and r.partial else r for r in records]
