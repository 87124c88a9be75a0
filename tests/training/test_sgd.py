"""Our optimiser beside PyTorch's, and what a training's process imports for it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from llmastool.training.sgd import SGD


class Late(nn.Module):
    """Uses one of its parameters from the third step on, and another never."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.late, self.never = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 5)
        self.table = nn.Embedding(4, 5, sparse=True)
        self.steps = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return something of shape `(n, 5)`."""
        self.steps += 1
        x = self.first(x) + self.table(torch.arange(len(x)) % 4)
        return self.late(x) if self.steps > 2 else x


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_it_steps_as_that_of_pytorch(momentum: float, nesterov: bool) -> None:
    def learned(ours: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        net = Late()
        dense = [p for name, p in net.named_parameters() if not name.startswith("table")]
        for parameters, decay in ((dense, 5e-4), (list(net.table.parameters()), 0.0)):
            net.steps = 0
            mine = SGD(parameters, momentum=momentum, weight_decay=decay, nesterov=nesterov)
            theirs = torch.optim.SGD(parameters, momentum=momentum, weight_decay=decay, nesterov=nesterov)
            for step in range(6):
                net.zero_grad()
                net(torch.randn(8, 6)).pow(2).sum().backward()
                rate = 0.01 / (step + 1)
                if ours:
                    mine.step(rate)
                else:
                    theirs.param_groups[0]["lr"] = rate
                    theirs.step()
        return dict(net.named_parameters())

    theirs = learned(ours=False)
    assert all(torch.equal(value, theirs[name]) for name, value in learned(ours=True).items())


def test_a_training_that_compiles_nothing_imports_no_compiler() -> None:
    code = """
import sys, torch
import llmastool.training.worker
from llmastool.training.loop import train
from llmastool.training.recipe import Recipe
net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 3))
data = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8), torch.arange(8) % 3
meta = {"mean": [0.5], "std": [0.2], "flip": False, "classes": 3, "digest": "x"}
train(net, data, data, meta, Recipe(epochs=1, batch_size=4, grad_clip=1.0), seed=0, device=torch.device("cpu"))
print(sorted({"torch._dynamo", "triton", "sympy"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "[]\n"
