"""Build a registry, unless it was built from the same bundles, limits and code before."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from llmastool.canonical import Json, read_json
from llmastool.outputs import Stamp, code_digest, files_digest

if TYPE_CHECKING:
    from llmastool.registry.pool import ProbeConfig, RunsJobs
    from llmastool.registry.register import Progress
    from llmastool.registry.unbuilt import Proposes
    from llmastool.registry.undescribed import Describes


def build(
    mined: Path,
    out: Path,
    config: ProbeConfig,
    cache: Path | None = None,
    progress: Progress | None = None,
    proposer: Proposes | None = None,
    describer: Describes | None = None,
    runs: RunsJobs | None = None,
) -> Json:
    """Probe what was mined and write the registry, as `llmastool.registry.register.register` does; see there.

    Where nothing changed, this reads the summary and is done. Where something did, `register` remembers the results of
    the modules that are the same. Without a cache, everything is probed; without `runs`, on this machine.
    """
    package = Path(__file__).parent
    asked = [who.name if who is not None else None for who in (proposer, describer)]
    limits = {name: value for name, value in asdict(config).items() if name != "workers"}
    code = [code_digest(package), code_digest(package.parent), code_digest(package.parent / "mining"), version("torch")]
    stamp = Stamp(cache.parent, out, [files_digest(mined), limits, code, asked]) if cache is not None else None
    if stamp is None or not stamp.holds():
        from llmastool.registry.pool import run_jobs
        from llmastool.registry.register import register

        register(mined, out, config, cache, progress, proposer, describer, runs or run_jobs)
        if stamp is not None:
            stamp.set()
    return read_json(out / "summary.json")
