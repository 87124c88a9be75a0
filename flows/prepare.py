"""The flow of the stage `prepare`."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, get_run_logger

from llmastool.canonical import Json
from llmastool.params import Params
from llmastool.runs import only_writer
from llmastool.training.data import summary
from llmastool.training.images.cache import CACHE
from tasks.data import prepare_data


@flow(name="prepare")
def prepare(
    params_file: Path = Path("params.yaml"),
    out: Path = Path("artifacts/prepare"),
    cache: Path = CACHE,
) -> dict[str, Json]:
    """Write the prepared image set into `out` and return its meta; decoded images are kept in `cache`."""
    params = Params.load(params_file)
    with only_writer(out):
        meta = prepare_data(params.data, out, params.seed, cache)
    get_run_logger().info("%s", summary(meta))
    return meta
