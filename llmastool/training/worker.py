"""The process of one job, seen from inside: `python -m llmastool.training.worker FOLDER MEMORY_GB SECONDS`.

It runs code of other people, so it runs in the sandbox, under limits. It writes `work/result.json` with `gate`,
`message`, `metrics` and `curve`, and ends with 0 however the network fared.
"""

from __future__ import annotations

import errno
import math
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from llmastool.canonical import Json, read_json, write_json
from llmastool.errors import LLMasToolError
from llmastool.leaving import leave_now
from llmastool.outcome import Gate
from llmastool.sandbox import GIB, Limits, virtual_memory
from llmastool.seeds import derive
from llmastool.training.compiling import Compiler
from llmastool.training.data import load, load_meta
from llmastool.training.devices import lost
from llmastool.training.job import Job, JobError
from llmastool.training.layouts import laid
from llmastool.training.loop import Data, Diverged, Entry, evaluate, seed_generators, train
from llmastool.training.process import CHECKPOINT, MESSAGE_CHARACTERS, RESULT, UNAVAILABLE, WEIGHTS, out_of_memory
from llmastool.trees.budget import Fell
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog
from llmastool.trees.gates import real_pass
from llmastool.trees.inherit import inherit, origins

HEADROOM = GIB // 2
"""Address space, in bytes, for stacks and arenas of threads: it is reserved, and hardly ever used."""


@dataclass(frozen=True)
class Setting:
    """All that a job needs before any foreign code runs."""

    job: Job
    catalog: Catalog
    meta: dict[str, Json]
    learn: Data
    validation: Data | None
    """None when the job learns from the validation split, too."""
    device: torch.device
    work: Path


@dataclass
class Progress:
    """How far the job came; says at which gate an error fell."""

    gate: Gate = "build"


def main(folder: Path, memory_gb: float, seconds: float) -> int:
    """Do the job in `folder` within the limits, and return the exit status."""
    try:
        setting = _set_up(folder)
    except (LLMasToolError, OSError) as error:
        print(error, flush=True)
        return UNAVAILABLE
    _limit(setting, memory_gb, seconds)
    progress = Progress()
    try:
        result = _do(setting, progress)
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything, and all of it is a result
        traceback.print_exc()
        if _disk_is_full(error):
            print(f"no space left on the disk of {folder}; free some and run again", flush=True)
            return UNAVAILABLE
        if lost(str(error)):
            print(f"the GPU is gone ({error}); see `nvidia-smi`, and run again".replace("\n", " "), flush=True)
            return UNAVAILABLE
        result = {**_fallen(error, progress.gate), "metrics": {}, "curve": []}
    write_json(setting.work / RESULT, result)
    return 0


def _set_up(folder: Path) -> Setting:
    job = Job.from_json(read_json(folder / "job.json")["job"])
    if job.device.startswith("cuda") and not torch.cuda.is_available():
        raise JobError(f"training.device {job.device}: expected a GPU, found none; set it to cpu or auto")
    # Which of several GPUs it is, is settled by what this process sees.
    kind = "cuda" if job.device != "cpu" and torch.cuda.is_available() else "cpu"
    learn, validation = load(job.data, "train"), load(job.data, "validation")
    if job.train_on == "train+validation":
        learn = (torch.cat([learn[0], validation[0]]), torch.cat([learn[1], validation[1]]))
    return Setting(
        job=job,
        catalog=Catalog.open(job.registry),
        meta=load_meta(job.data),
        learn=learn,
        validation=validation if job.train_on == "train" else None,
        device=torch.device(kind),
        work=folder / "work",
    )


def _limit(setting: Setting, memory_gb: float, seconds: float) -> None:
    threads, memory = setting.job.threads, int(memory_gb * GIB)
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    space = virtual_memory() + HEADROOM + memory
    if setting.device.type == "cuda":
        # CUDA reserves address space for all memory there is, so the limit is set on the GPU's own memory instead.
        space = 0
        total = torch.cuda.get_device_properties(setting.device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, memory / total), setting.device)
    # Wall time is watched from outside; this ends what escapes that.
    cpu = int(2 * seconds * threads) + 60
    Limits(memory_bytes=space, cpu_seconds=cpu, file_bytes=max(memory, GIB)).apply()


def _do(setting: Setting, progress: Progress) -> dict[str, Json]:
    job, device = setting.job, setting.device
    seed_generators(derive(job.seed, "init"))
    net = build(job.tree, setting.catalog)
    inherited = _inherited(net, job)
    progress.gate = "shape"
    net.to(device)
    images = laid(setting.learn[0][:2].to(device).float() / 255, torch.contiguous_format)
    real_pass(net, images, setting.meta["classes"])
    progress.gate = "crash"
    curve = train(
        net,
        setting.learn,
        setting.validation,
        setting.meta,
        job.recipe,
        seed=job.seed,
        device=device,
        checkpoint=setting.work / CHECKPOINT,
        on_epoch=_print_epoch,
        until=job.last,
        compiler=Compiler() if job.compile == "auto" else None,
    )
    metrics = _metrics(net, setting, curve) | inherited
    if len(curve) < job.recipe.epochs:
        message = f"left after {len(curve)} of {job.recipe.epochs} epochs"
        return {"gate": "stopped", "message": message, "metrics": metrics, "curve": curve}
    if job.keep_weights:
        from safetensors.torch import save_model

        save_model(net, str(setting.work / WEIGHTS))
    return {"gate": "ok", "message": "", "metrics": metrics, "curve": curve}


def _inherited(net: nn.Module, job: Job) -> dict[str, float]:
    """Give the network what it has of its parent's weights, and return which share of its parameters that is."""
    if job.parent is None:
        return {}
    from safetensors.torch import load_file

    taken = set(inherit(net, load_file(job.parent.weights), origins(job.parent.tree, job.tree)))
    sizes = {name: p.numel() for name, p in net.named_parameters()}
    return {"inherited": sum(n for name, n in sizes.items() if name in taken) / max(1, sum(sizes.values()))}


def _metrics(net: nn.Module, setting: Setting, curve: list[Entry]) -> dict[str, float]:
    last, seconds = curve[-1], sum(entry["seconds"] for entry in curve)
    metrics = {k: v for k, v in last.items() if k not in ("epoch", "lr", "seconds")}
    metrics["parameters"] = sum(p.numel() for p in net.parameters())
    metrics["train_seconds"] = round(seconds, 3)
    metrics["images_per_second"] = round(len(curve) * len(setting.learn[1]) / max(seconds, 1e-3), 1)
    if setting.job.evaluate_on == "test":
        found = evaluate(net, load(setting.job.data, "test"), setting.meta, setting.device)
        if not math.isfinite(found["loss"]):
            raise Diverged(len(curve), None)
        metrics |= {f"test_{name}": value for name, value in found.items()}
    return metrics


def _print_epoch(entry: Entry) -> None:
    print("  ".join(f"{k} {v:.6g}" for k, v in entry.items()), flush=True)


def _fallen(error: Exception, gate: Gate) -> dict[str, Json]:
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or out_of_memory(text):
        gate = "memory"
    elif isinstance(error, Diverged):
        gate = "numerics"
    elif isinstance(error, Fell):
        gate = error.gate
    return {"gate": gate, "message": text.split("\n")[0][:MESSAGE_CHARACTERS]}


def _disk_is_full(error: Exception) -> bool:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or "No space left on device" in str(error)


if __name__ == "__main__":
    leave_now(main(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
