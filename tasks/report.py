"""The task that writes the report."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE


@task(name="report", tags=["report"], cache_policy=NO_CACHE)
def report(archive: Path, final: Path, registry: Path, out: Path) -> Path:
    """Write `report.html` into `out` and return its path; see `llmastool.report.write_report`."""
    from llmastool.report import write_report

    write_report(archive, final, registry, out)
    return out / "report.html"
