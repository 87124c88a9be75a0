"""The task that prepares the image set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from llmastool.canonical import Json

if TYPE_CHECKING:
    from llmastool.training.data import DataConfig


# Not cached and not retried: DVC decides whether it runs, and a broken file stays broken.
@task(name="prepare-data", tags=["data"], cache_policy=NO_CACHE)
def prepare_data(config: DataConfig, out: Path, seed: int, cache: Path) -> dict[str, Json]:
    """Write the prepared image set into `out` and return its meta; see `llmastool.training.data.prepare`."""
    from llmastool.training.data import prepare

    return prepare(config, out, seed, cache)
