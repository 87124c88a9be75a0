"""The flow of the stage `report`."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, get_run_logger

from llmastool.runs import only_writer
from tasks import report as tasks


@flow(name="report")
def report(
    archive: Path = Path("artifacts/search"),
    final: Path = Path("artifacts/final"),
    registry: Path = Path("artifacts/registry"),
    out: Path = Path("artifacts/report"),
) -> Path:
    """Write `report.html` into `out` and return its path."""
    with only_writer(out):
        path = tasks.report(archive, final, registry, out)
    get_run_logger().info("%s", path)
    return path
