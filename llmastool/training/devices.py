"""Which GPU a training runs on, where there are several: the one with the fewest trainings of this user."""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from llmastool.outputs import alone_at

VISIBLE = "CUDA_VISIBLE_DEVICES"
_GPUS = Path("/proc/driver/nvidia/gpus")
_LEASES = Path(tempfile.gettempdir()) / f"llmastool-gpus-{os.getuid()}"
"""Folder of a locked file for each training on a GPU, of all processes: a cluster has one for each worker."""

_LOST = re.compile(
    r"no CUDA-capable device|CUDA-capable device(s|\(s\))? (is|are|is/are) busy or unavailable|GPU is lost|off the bus"
    r"|uncorrectable ECC|system not yet initialized|driver shutting down|driver version is insufficient"
    r"|no NVIDIA driver|CUDA error: (unknown|initialization) error",
    re.IGNORECASE,
)


def lost(text: str) -> bool:
    """Return whether a message of CUDA or torch says that the GPU is gone, whatever the network does."""
    return bool(_LOST.search(text))


def visible(environment: Mapping[str, str] = os.environ, present: Path = _GPUS) -> list[str]:
    """Return the GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them; empty where it is not known.

    Args:
        environment: where that variable may be set.
        present: folder in which the driver lists the GPUs.
    """
    named = environment.get(VISIBLE)
    if named is not None:
        return [name for part in named.split(",") if (name := part.strip()) and name != "-1"]
    return [str(i) for i in range(len(list(present.glob("*"))))]


@contextmanager
def lease(device: str, gpus: list[str] | None = None) -> Iterator[dict[str, str]]:
    """Have a GPU, or a share of one, for one training.

    Yields what its process needs in its environment: it sees that one GPU, and calls it `cuda`. On a CPU it sees none.

    Args:
        device: as in `TrainingConfig`; `cuda:1` is the second of those that this process may use.
        gpus: the GPUs that may be used; None means `visible()`.
    """
    if device == "cpu":
        yield {VISIBLE: ""}
        return
    gpus = visible() if gpus is None else gpus
    number = device.partition(":")[2]
    if not gpus or (number and int(number) >= len(gpus)):
        yield {VISIBLE: number} if number else {}  # the training says that there is none
        return
    with _share([gpus[int(number)]] if number else gpus) as chosen:
        yield {VISIBLE: chosen}


@contextmanager
def _share(gpus: Sequence[str]) -> Iterator[str]:
    """Have the GPU with the fewest trainings. The kernel frees the file with the process that holds it."""
    with alone_at(_LEASES / "choice"):
        busy = {gpu: {path for path in _LEASES.glob(f"{_plain(gpu)}+*") if _is_held(path)} for gpu in gpus}
        chosen = min(gpus, key=lambda gpu: (len(busy[gpu]), gpus.index(gpu)))
        places = (_LEASES / f"{_plain(chosen)}+{number}" for number in itertools.count())
        file = next(place for place in places if place not in busy[chosen]).open("a")
        fcntl.flock(file, fcntl.LOCK_EX)
    with file:
        yield chosen


def _plain(gpu: str) -> str:
    return re.sub(r"[^\w-]", "_", gpu)


def _is_held(path: Path) -> bool:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
