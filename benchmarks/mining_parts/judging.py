"""Start the judge in the sandbox and read what it says."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import ROOT
from llmastool import sandbox
from llmastool.canonical import Json

WORKERS = 2
SECONDS = 60.0
"""Wall time of one module under the judge: three times what a probe has, as it is not the judge's speed that counts."""


def judge(
    kind: str, request: Json, readable: Sequence[Path] = (), seconds: float = SECONDS, gib: float = 4.0
) -> list[Json]:
    """Return a line for every item of a request, in the order of the items.

    Args:
        kind: what is judged; see `benchmarks.judge`.
        request: what that kind needs, its `items` among it.
        readable: folders that the judge must see.
        seconds: time for one item.
        gib: memory for one item.

    Raises:
        RuntimeError: the judge died.
    """
    own = ROOT / "benchmarks"  # of the repository, the sandbox shows the library alone
    argv = sandbox.command([sys.executable, "-m", "benchmarks.judge", kind], readable=[own, *readable])
    items = request["items"]
    with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+") as log:
        json.dump({**request, "seconds": seconds, "gib": gib, "workers": WORKERS}, given)
        given.seek(0)
        environment = sandbox.environment({"PYTHONWARNINGS": "ignore"})
        with subprocess.Popen(
            argv, stdin=given, stdout=subprocess.PIPE, stderr=log, env=environment, text=True
        ) as process:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(json.loads(line))
                if len(lines) % 200 == 0:
                    print(f"  {kind}: {len(lines)} of {len(items)}", flush=True)
        if process.returncode != 0 or len(lines) != len(items):
            log.seek(0)
            raise RuntimeError(f"the judge ({kind}) ended with {process.returncode}: {log.read()[-2000:]}")
    place = {json.dumps(item, sort_keys=True): i for i, item in enumerate(items)}
    return sorted(lines, key=lambda line: place[json.dumps(line["item"], sort_keys=True)])


def passed(line: Json, stage: str) -> bool:
    """Return whether an item got through a stage."""
    return any(said.get("passed") == stage for said in line["said"])


def reason(line: Json, stage: str) -> str:
    """Return why an item fell at a stage."""
    for said in line["said"]:
        if said.get("fell") == stage:
            return str(said["message"])
    return str(line["ending"] or "it said nothing")
