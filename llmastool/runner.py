"""Where trainings and probes run: in threads of this machine's own, or on a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from llmastool.config import require

Kind: TypeAlias = Literal["threads", "dask", "ray"]


@dataclass(frozen=True, kw_only=True)
class RunnerConfig:
    """What trains and probes. It changes when and where something is computed, not what comes of it."""

    kind: Kind = "threads"
    """Threads of this machine, each with a process that trains; or workers of a Dask or Ray cluster."""
    address: str | None = None
    """Of a running cluster; None starts one on this machine, of as many processes as `training.workers` says."""
    store: str = "runs/store"
    """Through what data, registry and trainings reach the workers and come back: a folder on a disk that all machines
    share, or a URL that fsspec knows, such as `s3://bucket/folder`."""
    cache: str | None = None
    """Folder on each worker's own disk for what it took from the store; None for `~/.cache/llmastool`."""

    def __post_init__(self) -> None:
        require(self.kind in get_args(Kind), "kind", f"one of {', '.join(get_args(Kind))}", self.kind)
        require(self.address is None or self.kind != "threads", "address", "null for threads", self.address)


def cache_folder(cache: str | None) -> Path:
    """Return the folder on the machine on which this is asked that `RunnerConfig.cache` means."""
    return Path(cache).expanduser() if cache is not None else Path.home() / ".cache" / "llmastool"
