"""The flows that turn source code into a registry: fetch and mine sources, register what was found."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, get_run_logger
from prefect.utilities.annotations import quote

from flows.pool import probes
from llmastool.canonical import Json
from llmastool.mining.sets import all_sources
from llmastool.params import Params
from llmastool.runs import only_writer
from tasks.mining import fetch_sources, mine_one, write_mined
from tasks.registry import register_bundles

FUNNEL = ("found", "sliced", "loaded", "built", "forward", "backward", "contract")
"""What is said of a source at the end, in the order in which modules are lost."""


@flow(name="fetch")
def fetch(
    params_file: Path = Path("params.yaml"),
    out: Path = Path("artifacts/fetch"),
    cache: Path = Path("runs/sources"),
) -> int:
    """Have the sources that are not on this machine in `out`, and return their number.

    Args:
        params_file: all parameters.
        out: folder to write to: these sources and no others.
        cache: folder of all that was ever fetched, so that nothing is fetched twice.
    """
    specs = all_sources(Params.load(params_file).mining)
    with only_writer(out):
        fetched = fetch_sources(specs, cache, out)
    for one in fetched:
        get_run_logger().info("%s: %s", one["name"], one["version"])
    return len(fetched)


@flow(name="mine")
def mine(
    params_file: Path = Path("params.yaml"),
    out: Path = Path("artifacts/mine"),
    fetched: Path = Path("artifacts/fetch"),
    cache: Path = Path("runs/mined"),
) -> int:
    """Cut the module classes out of all sources, write them into `out`, and return their number.

    Args:
        params_file: all parameters.
        out: folder to write to.
        fetched: folder that the flow `fetch` wrote.
        cache: folder that keeps what each source gave, so that only those that changed are mined again.
    """
    log = get_run_logger()
    with only_writer(out):
        mined = []
        for spec in all_sources(Params.load(params_file).mining):
            mined.append(mine_one(spec, fetched, cache))
            log.info("%s: %d module classes", spec.label, len(mined[-1].bundles))
        # Quoted, as Prefect would look through all of it for what other tasks return.
        return write_mined(quote(mined), out)


@flow(name="register")
def register(
    params_file: Path = Path("params.yaml"),
    bundles: Path = Path("artifacts/mine"),
    out: Path = Path("artifacts/registry"),
    cache: Path = Path("runs/probes.jsonl"),
) -> dict[str, Json]:
    """Probe all bundles in the sandbox, write the registry into `out`, and return its summary.

    Args:
        params_file: all parameters.
        bundles: folder that the flow `mine` wrote.
        out: folder of the registry.
        cache: file that keeps what was probed, so that a run that was stopped goes on.
    """
    params = Params.load(params_file)
    with only_writer(out), probes(params.runner, params.registry.workers) as runs:
        # On a cluster the tasks are the batches of probes. One around them would have to be sent along with each.
        build = register_bundles if runs is None else register_bundles.fn
        summary = build(bundles, out, params.registry, cache, params.filler, runs)
    for source in summary["sources"]:
        get_run_logger().info(
            "%s", f"{source['name']}: " + ", ".join(f"{source[k]} {k}" for k in FUNNEL if k in source)
        )
    return summary


@flow(name="collect")
def collect(
    params_file: Path = Path("params.yaml"),
    bundles: Path = Path("artifacts/mine"),
    out: Path = Path("artifacts/registry"),
    cache: Path = Path("runs/probes.jsonl"),
) -> dict[str, Json]:
    """Fetch, mine and register: what a deployment runs from time to time."""
    fetch(params_file)
    mine(params_file, bundles)
    return register(params_file, bundles, out, cache)
