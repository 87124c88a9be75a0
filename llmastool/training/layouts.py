"""How image maps lie in memory while a network is trained: channels last wherever the network takes it.

On GPUs and on CPUs with AVX-512 convolutions are faster so, up to 2.4 times (docs/training.md); the numbers are the
same but for rounding. Code that asks how a tensor lies in memory, a `view` of a map for one, may not take it. On other
CPUs little is gained, and the gradient of a 1x1 convolution with a stride and fewer than 8 channels is written past its
memory: https://github.com/uxlfoundation/oneDNN/issues/6035.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from llmastool.modes import evaluating, quiet
from llmastool.trees.gates import real_pass


def fastest(net: nn.Module, images: Tensor, classes: int) -> torch.memory_format:
    """Return the layout to train a network in; the network is left as it is.

    Channels last if copies of the network learn from images that lie so, and say the same of them in eval mode; never
    on CPUs without AVX-512.

    Args:
        net: the network, on the device of `images`.
        images: as it takes them, shape `(batch, channels, height, width)`, 2 images or more.
        classes: number of classes.
    """
    if images.device.type == "cpu" and torch.backends.cpu.get_cpu_capability() != "AVX512":
        return torch.contiguous_format
    with torch.random.fork_rng(devices=[images.device] if images.device.type == "cuda" else []), quiet():
        try:
            plain, last = copy.deepcopy(net), copy.deepcopy(net).to(memory_format=torch.channels_last)
            first, given = laid(images, torch.contiguous_format), laid(images, torch.channels_last)
            with torch.no_grad():
                same = torch.allclose(evaluating(plain)(first), evaluating(last)(given), rtol=1e-3, atol=1e-4)
            real_pass(last, given, classes)
        except Exception:  # noqa: BLE001 - foreign code may raise anything; then it is trained as it was written
            return torch.contiguous_format
    return torch.channels_last if same else torch.contiguous_format


def lay(net: nn.Module, layout: torch.memory_format) -> None:
    """Lay the weights of a network so, in place."""
    net.to(memory_format=layout)


def laid(images: Tensor, layout: torch.memory_format) -> Tensor:
    """Return images that lie so, copied where they lay otherwise.

    Images of one channel lie both ways at once; then their strides, which a convolution goes by, say this one.
    """
    images = images.contiguous(memory_format=layout)
    return images.flatten().view(images.shape) if layout == torch.contiguous_format else images
