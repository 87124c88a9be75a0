"""The tasks that probe bundles and register what runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from llmastool.canonical import Json

if TYPE_CHECKING:
    from llmastool.filler.config import FillerConfig
    from llmastool.registry.away import Batch
    from llmastool.registry.pool import ProbeConfig, RunsJobs


# Not cached here: the library keeps each probe's result in a file of its own, and a stopped run goes on from that.
# Not retried: what fails in a probe is a result, and what fails around it (sandbox, disk) is for the user to mend.
@task(name="register", tags=["registry"], cache_policy=NO_CACHE)
def register_bundles(
    bundles: Path, out: Path, config: ProbeConfig, cache: Path, filler: FillerConfig, runs: RunsJobs | None = None
) -> dict[str, Json]:
    """Probe all bundles, write the registry into `out` and return its summary; see `llmastool.registry.incremental`.

    Args:
        bundles: folder that mining wrote.
        out: folder of the registry.
        config: limits of the probing.
        cache: file that keeps the results so far; beside it lies what an LLM said of modules.
        filler: who is asked for arguments of modules that could not be built, and for descriptions, where that is an
            LLM.
        runs: runs the probes; None runs them on this machine.
    """
    from llmastool.filler.choose import make_describer, make_proposer
    from llmastool.registry.incremental import build
    from llmastool.registry.register import tenths

    summary: dict[str, Json] = build(
        bundles,
        out,
        config,
        cache,
        tenths(get_run_logger().info),
        make_proposer(filler, cache.with_name("proposed.jsonl")),
        make_describer(filler, cache.with_name("described.jsonl")),
        runs,
    )
    return summary


@task(name="probe", tags=["registry"], cache_policy=NO_CACHE)
def probe_away(batch: Batch, cache: str | None) -> list[Json]:
    """Probe a batch of modules on the machine on which this task runs; see `llmastool.registry.away.do`.

    Args:
        batch: what to probe.
        cache: as in `llmastool.runner.RunnerConfig`.
    """
    from llmastool.registry.away import do
    from llmastool.runner import cache_folder

    return do(batch, cache_folder(cache))
