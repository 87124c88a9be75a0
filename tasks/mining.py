"""The tasks that mine sources: one for each source, one that writes what all gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext

from llmastool.canonical import digest, digest_bytes

if TYPE_CHECKING:
    from llmastool.mining.mine import Mined
    from llmastool.mining.sources import SourceSpec


def mining_key(_: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Return the cache key of mining a source: its files' content, what is asked of it, and the miner's own code.

    Raises:
        SourceError: the source cannot be read.
    """
    import llmastool.mining
    from llmastool.mining.sources import read_source

    spec: SourceSpec = parameters["spec"]
    package = Path(llmastool.mining.__file__).parent
    code = digest_bytes(*(path.read_bytes() for path in sorted(package.glob("*.py"))))
    return digest([asdict(spec), asdict(read_source(spec).pin), code])


# Cached by content: of many sources, only those that changed are mined again. Reading is far cheaper than slicing.
@task(
    name="mine-source", tags=["mining"], cache_key_fn=mining_key, persist_result=True, task_run_name="mine-{spec.label}"
)
def mine_one(spec: SourceSpec) -> Mined:
    """Cut the module classes out of one source; see `llmastool.mining.mine.mine_source`."""
    from llmastool.mining.mine import mine_source

    return mine_source(spec)


@task(name="write-bundles", tags=["mining"], cache_policy=NO_CACHE)
def write_mined(mined: Sequence[Mined], out: Path) -> int:
    """Write the bundles of all sources into `out` and return their number."""
    from llmastool.mining.mine import write

    write(mined, out)
    return sum(len(one.bundles) for one in mined)
