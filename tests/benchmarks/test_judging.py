"""The judge of the mining benchmark sees its own code and what it is shown, in the sandbox."""

from pathlib import Path

from benchmarks.mining_parts import figures
from benchmarks.mining_parts.judging import judge, passed


def test_a_registered_module_is_judged(registry_folder: Path) -> None:
    row = next(row for row in figures.rows(registry_folder) if row["name"] == "tiny.nets.Block")
    item = {"module": row["module"], "contracts": row["contracts"], "args": None, "seed": 0}
    request = {"registry": str(registry_folder), "items": [item], "blocked": {"tiny": ["tiny"]}}
    (line,) = judge("registry", request, [registry_folder])
    assert all(passed(line, stage) for stage in ("loaded", "built", "forward", "backward"))
    unseen = figures.unseen([line])
    assert unseen["claimed"] == unseen["held"] > 0
