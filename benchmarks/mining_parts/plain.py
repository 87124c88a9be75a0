"""What a plain import of the original packages gives, with the simplest guess at arguments: no mining at all."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Sequence

from benchmarks.mining_parts.forked import Tell, Work
from benchmarks.mining_parts.guess import try_class
from llmastool.canonical import Json


def prepare(request: Json) -> tuple[Sequence[Json], Work]:
    """Make packages importable.

    Args:
        request: `paths`, from which they can be imported; `warm`, packages to import before any child is forked;
            `items`, each with a `module` and the `path` of a class in it.
    """
    sys.path[:0] = request["paths"]
    for name in request["warm"]:
        with contextlib.suppress(Exception):  # then its classes say why, one by one
            importlib.import_module(name)
    return request["items"], _work


def _work(item: Json, tell: Tell) -> None:
    try:
        value = importlib.import_module(item["module"])
        for part in item["path"].split("."):
            value = getattr(value, part)
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything
        tell({"fell": "load", "message": f"{type(error).__name__}: {error}"[:300]})
        return
    tell({"passed": "loaded"})
    try_class(value, tell)  # type: ignore[arg-type]
