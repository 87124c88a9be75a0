"""The tasks that fetch and mine sources: one for each source, one that writes what all gave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from llmastool.canonical import Json

if TYPE_CHECKING:
    from llmastool.mining.mine import Mined
    from llmastool.mining.sources import SourceSpec


# Not retried: pip tries again by itself, and the other errors are for the user to mend.
@task(name="fetch-sources", tags=["mining"], cache_policy=NO_CACHE)
def fetch_sources(specs: Sequence[SourceSpec], cache: Path, out: Path) -> list[Json]:
    """Have all sources in `out`; see `llmastool.mining.fetch.fetch_all`."""
    from llmastool.mining.fetch import fetch_all

    return fetch_all(specs, cache, out)


# Not cached by Prefect: the library keeps what each source gave, so that one that did not change is not mined again.
@task(name="mine-source", tags=["mining"], cache_policy=NO_CACHE, task_run_name="mine-{spec.label}")
def mine_one(spec: SourceSpec, fetched: Path, cache: Path) -> Mined:
    """Cut the module classes out of one source; see `llmastool.mining.incremental.mine_cached`.

    Args:
        spec: the source.
        fetched: folder that holds those that had to be fetched.
        cache: folder that keeps what each source gave.
    """
    from llmastool.mining.fetch import located
    from llmastool.mining.incremental import mine_cached

    return mine_cached(located(spec, fetched), cache)


@task(name="write-bundles", tags=["mining"], cache_policy=NO_CACHE)
def write_mined(mined: Sequence[Mined], out: Path) -> int:
    """Write the bundles of all sources into `out` and return their number."""
    from llmastool.mining.mine import write

    write(mined, out)
    return sum(len(one.bundles) for one in mined)
