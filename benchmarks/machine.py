"""What a figure was measured on."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from llmastool.canonical import Json

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "torchvision", "prefect", "mlflow", "dvc", "pymc", "nutpie", "polars", "tree-sitter")


def describe() -> Json:
    """Return hardware, versions, commit and date."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    status = ["git", "status", "--porcelain", "-uno", "--", ".", ":!benchmarks/results", ":!*.png"]
    dirty = subprocess.run(status, cwd=ROOT, capture_output=True, text=True, check=True)
    return {
        "commit": commit.strip() + ("+changes" if dirty.stdout.strip() else ""),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3, 1),
        "processor": _processor(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
