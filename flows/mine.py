"""The flows that turn source code into a registry: mine sources, register what was found, or both."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, get_run_logger

from llmastool.canonical import Json
from llmastool.params import Params
from llmastool.runs import only_writer
from tasks.mining import mine_one, write_mined
from tasks.registry import register_bundles

FUNNEL = ("found", "sliced", "loaded", "built", "forward", "backward", "contract")
"""What is said of a source at the end, in the order in which modules are lost."""


@flow(name="mine")
def mine(params_file: Path = Path("params.yaml"), out: Path = Path("artifacts/mine")) -> int:
    """Cut the module classes out of all sources, write them into `out`, and return their number."""
    params = Params.load(params_file)
    log = get_run_logger()
    with only_writer(out):
        mined = []
        for spec in params.mining.sources:
            mined.append(mine_one(spec))
            log.info("%s: %d module classes", spec.label, len(mined[-1].bundles))
        return write_mined(mined, out)


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
    with only_writer(out):
        summary = register_bundles(bundles, out, params.registry, cache)
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
    """Mine, then register: what a deployment runs from time to time."""
    mine(params_file, bundles)
    return register(params_file, bundles, out, cache)
