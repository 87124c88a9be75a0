"""Probes and trainings on a local cluster of separate processes, one of them killed: the same search in the end."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from tests.pipelines.workspace import finish, lay_out, load, lose_a_worker, starts, told

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search whose probes and trainings ran in threads of its own process."""
    folder = tmp_path_factory.mktemp("reference")
    lay_out(folder)
    for name in ("prepare", "mine", "registry", "search"):
        finish(folder, name)
    return folder


@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_a_worker_that_is_killed_costs_its_candidate_a_retry(kind: str, reference: Path, tmp_path: Path) -> None:
    lay_out(tmp_path, f"runner: {{kind: {kind}, cache: {tmp_path}/elsewhere}}\n")
    for name in ("prepare", "mine", "registry"):
        finish(tmp_path, name)
    assert stages(tmp_path) == stages(reference)
    # How much of a contract is tried out depends on the time that there is: the searches have one registry.
    shutil.rmtree(tmp_path / "artifacts/registry")
    shutil.copytree(reference / "artifacts/registry", tmp_path / "artifacts/registry")

    lose_a_worker(tmp_path, kind, tmp_path / "elsewhere")
    archives = [load(folder / "artifacts/search/archive.json") for folder in (tmp_path, reference)]
    assert archives[0]["fingerprint"] == archives[1]["fingerprint"]
    counts = told(tmp_path)
    assert set(counts.values()) == {1} and len(counts) == len(archives[0]["entries"])
    begun = starts(tmp_path)
    assert sum(begun.values()) - len(begun) <= 1, "nothing is trained again but what the worker was at"
    assert not list((tmp_path / "runs" / "store" / "trials").iterdir())
    assert not list((tmp_path / "elsewhere" / "trials").glob("[!.]*"))


def stages(folder: Path) -> dict[str, str]:
    """Return how far each module came when it was probed."""
    table = pl.read_parquet(folder / "artifacts/registry/registry.parquet")
    return dict(zip(table["module"], table["stage"], strict=True))
