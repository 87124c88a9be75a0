"""GPUs without a GPU: who gets which, and what is said where there is none."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from llmastool.training import devices, process
from llmastool.training.devices import lease, lost, visible
from llmastool.training.job import Job, run
from llmastool.training.recipe import Recipe, TrainingConfig
from llmastool.trees.tree import Tree

LINEAR = Tree(
    "torch.nn.Sequential",
    {},
    (("0", Tree("torch.nn.Flatten")), ("1", Tree("torch.nn.Linear", {"in_features": 64, "out_features": 10}))),
)


def test_which_gpus_may_be_used(tmp_path: Path) -> None:
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / name).mkdir()
    assert visible({}, tmp_path) == ["0", "1"]
    assert visible({"CUDA_VISIBLE_DEVICES": "3, GPU-8f"}, tmp_path) == ["3", "GPU-8f"]
    assert visible({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == visible({"CUDA_VISIBLE_DEVICES": "-1"}, tmp_path) == []
    assert visible({}, tmp_path / "none") == []


@pytest.fixture(autouse=True)
def leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_LEASES", tmp_path / "leases")


def test_trainings_spread_over_the_gpus() -> None:
    gpus = ["3", "5"]
    with ExitStack() as stack:
        first, second, third = (stack.enter_context(lease("auto", gpus)) for _ in range(3))
        assert [env["CUDA_VISIBLE_DEVICES"] for env in (first, second, third)] == ["3", "5", "3"]
        with lease("cuda:0", gpus) as named:
            assert named == {"CUDA_VISIBLE_DEVICES": "3"}
        with lease("cuda", gpus) as least:
            assert least == {"CUDA_VISIBLE_DEVICES": "5"}
    with lease("auto", gpus) as again:
        assert again == {"CUDA_VISIBLE_DEVICES": "3"}


def test_trainings_of_other_processes_count_until_they_end(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from llmastool.training import devices
devices._LEASES = Path({str(tmp_path / "leases")!r})
with devices.lease("auto", ["3", "5"]) as chosen:
    print(chosen, flush=True)
    time.sleep(60)
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and "'3'" in other.stdout.readline()
    with lease("auto", ["3", "5"]) as here:
        assert here == {"CUDA_VISIBLE_DEVICES": "5"}
    other.kill()
    other.communicate()
    with lease("auto", ["3", "5"]) as again:
        assert again == {"CUDA_VISIBLE_DEVICES": "3"}


def test_a_cpu_training_sees_none_and_a_number_too_high_is_left_to_the_training() -> None:
    with lease("cpu", ["0"]) as hidden, lease("cuda:7", ["0"]) as beyond, lease("auto", []) as unknown:
        assert hidden == {"CUDA_VISIBLE_DEVICES": ""} and beyond == {"CUDA_VISIBLE_DEVICES": "7"} and unknown == {}


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("CUDA error: no CUDA-capable device is detected", True),
        ("CUDA error: CUDA-capable device(s) is/are busy or unavailable", True),
        ("CUDA error: all CUDA-capable devices are busy or unavailable", True),
        ("Unable to determine the device handle for GPU 0000:0B:00.0: GPU is lost", True),
        ("CUDA error: uncorrectable ECC error encountered", True),
        ("Found no NVIDIA driver on your system", True),
        ("CUDA error: device-side assert triggered", False),
        ("CUDA error: an illegal memory access was encountered", False),
        ("CUDA out of memory. Tried to allocate 2.00 GiB", False),
    ],
)
def test_a_lost_gpu_is_told_from_a_networks_fault(text: str, gone: bool) -> None:
    assert lost(text) == gone


def test_a_gpu_that_is_not_there_is_not_the_networks_fault(few_digits: Path, tmp_path: Path) -> None:
    job = Job(tree=LINEAR, registry=None, data=few_digits, recipe=Recipe(epochs=1), seed=0, device="cuda")
    with pytest.raises(process.TrainingUnavailable, match=r"training\.device cuda: expected a GPU, found none"):
        run(job, tmp_path / "job", TrainingConfig(recipe=job.recipe, seconds=60))
    assert not (tmp_path / "job" / "outcome.json").exists()
