"""When a network is compiled, and that it learns as it would have."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from llmastool.training.compiling import Choice, Compiler
from llmastool.training.data import load, load_meta
from llmastool.training.loop import Entry, train
from llmastool.training.recipe import Recipe


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


def test_it_pays_by_epochs_left() -> None:
    compiler = Compiler(price=60.0, gain=0.2)
    assert compiler.pays(2.0, 199) and not compiler.pays(2.0, 100) and not compiler.pays(0.1, 199)


def test_a_choice_is_taken_back_where_it_did_not_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compiler, "compiled", lambda _, net: net.forward)
    net = small()
    for second, kept in ((1.9, True), (2.1, False)):
        choice = Choice(net, Compiler(price=10.0))
        assert choice.forward is net
        choice.took(2.0, 199)
        assert choice.forward is not net
        choice.took(40.0, 198)
        assert choice.forward is not net
        choice.took(second, 197)
        assert (choice.forward is not net) == kept
        choice.took(2.0, 196)
        assert (choice.forward is not net) == kept, "it is tried once"
    short = Choice(net, Compiler(price=10.0))
    short.took(2.0, 3)
    assert short.forward is net
    never = Choice(net, None)
    never.took(2.0, 10_000)
    assert never.forward is net


def test_a_compiled_network_learns_the_same(few_digits: Path) -> None:
    """With the backend that only traces, which does the same sums."""

    def curve(compiler: Compiler | None) -> list[Entry]:
        return train(
            small(),
            load(few_digits, "train"),
            load(few_digits, "validation"),
            load_meta(few_digits),
            Recipe(epochs=4, batch_size=16, lr=0.1),
            seed=0,
            device=torch.device("cpu"),
            compiler=compiler,
        )

    plain, traced = curve(None), curve(Compiler(price=0.0, backend="eager"))
    for a, b in zip(plain, traced, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-5)
        assert a["validation_accuracy"] == b["validation_accuracy"]
