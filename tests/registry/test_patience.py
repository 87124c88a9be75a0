"""Foreign code that takes too long is given up, and what comes after it runs."""

import gc
import signal
import threading

import pytest
import torch
from torch import nn

from llmastool.registry.patience import TookTooLong, patience
from llmastool.registry.runner import Runner


def busy() -> None:
    while True:
        pass


def test_a_loop_without_end_is_left() -> None:
    before = signal.getsignal(signal.SIGPROF)
    with pytest.raises(TookTooLong, match=r"more than 0\.1 s of CPU time"), patience(0.1):
        busy()
    assert signal.getsignal(signal.SIGPROF) == before
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def test_code_that_catches_it_is_told_again() -> None:
    def stubborn() -> None:
        try:
            busy()
        except Exception:  # noqa: BLE001 - as mined code does
            busy()

    with pytest.raises(TookTooLong), patience(0.1):
        stubborn()


def test_what_runs_out_in_a_garbage_collection_is_told_again() -> None:
    """Python ignores what is raised in a callback of the collector, and says so."""
    struck = []

    def slow(_: str, __: object) -> None:
        gc.callbacks.remove(slow)
        try:
            busy()
        except TookTooLong:
            struck.append(True)
            raise

    gc.callbacks.append(slow)
    with pytest.raises(TookTooLong), patience(0.1):
        gc.collect()
        assert struck
        busy()


def test_a_quick_block_is_left_alone() -> None:
    with patience(5.0):
        value = sum(range(1000))
    assert value == 499500


def test_another_thread_has_no_limit_and_no_error() -> None:
    said = []

    def run() -> None:
        with patience(0.001):
            said.append(sum(range(100_000)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert said == [4999950000]


class Doubling(nn.Module):
    """Builds twice as much a level: what a wrong guess at `levels` asks for has no end."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.below = nn.ModuleList(Doubling(levels - 1) for _ in range(2)) if levels else nn.ModuleList()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_a_constructor_without_end_is_one_failed_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmastool.registry.runner.PATIENCE", 0.5)
    runner = Runner(Doubling, lambda value: value)
    with pytest.raises(TookTooLong):
        runner.build({"levels": 40})
    assert isinstance(runner.build({"levels": 2}), Doubling)
