"""The judge of files that another tool extracted: execute one, build the class that it is named for, run it."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from pathlib import Path

from benchmarks.mining_parts.forked import Tell, Work, block_imports
from benchmarks.mining_parts.guess import try_class
from llmastool.canonical import Json


def prepare(request: Json) -> tuple[Sequence[Json], Work]:
    """Take the items as they are.

    Args:
        request: `items`, each with a `file`, the `name` of a class in it, and the packages that are `blocked`.
    """
    return request["items"], _work


def _work(item: Json, tell: Tell) -> None:
    block_imports(set(item["blocked"]))
    module = types.ModuleType("block")
    sys.modules["block"] = module
    try:
        source = Path(item["file"]).read_text(encoding="utf-8")
        exec(compile(source, item["file"], "exec", dont_inherit=True), module.__dict__)
        cls = getattr(module, item["name"])
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything
        tell({"fell": "load", "message": f"{type(error).__name__}: {error}"[:300]})
        return
    tell({"passed": "loaded"})
    try_class(cls, tell)
