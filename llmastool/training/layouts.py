"""How image maps lie in memory while a network is trained: channels last wherever the network takes it.

On CPUs as on GPUs convolutions are faster so, up to 2.4 times (docs/training.md); the numbers are the same but for
rounding. Code that asks how a tensor lies in memory, a `view` of a map for one, may not take it.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from llmastool.modes import evaluating, quiet
from llmastool.trees.gates import real_pass


def fastest(net: nn.Module, images: Tensor, classes: int) -> torch.memory_format:
    """Return the layout to train a network in; the network is left as it is.

    Channels last if copies of the network learn from images that lie so, and say the same of them in eval mode.

    Args:
        net: the network, on the device of `images`.
        images: as it takes them, shape `(batch, channels, height, width)`, 2 images or more.
        classes: number of classes.
    """
    with torch.random.fork_rng(devices=[images.device] if images.device.type == "cuda" else []), quiet():
        try:
            plain, last = copy.deepcopy(net), copy.deepcopy(net).to(memory_format=torch.channels_last)
            given = images.contiguous(memory_format=torch.channels_last)
            with torch.no_grad():
                same = torch.allclose(evaluating(plain)(images), evaluating(last)(given), rtol=1e-3, atol=1e-4)
            real_pass(last, given, classes)
        except Exception:  # noqa: BLE001 - foreign code may raise anything; then it is trained as it was written
            return torch.contiguous_format
    return torch.channels_last if same else torch.contiguous_format


def lay(net: nn.Module, layout: torch.memory_format) -> None:
    """Lay the weights of a network so, in place."""
    net.to(memory_format=layout)
