"""Put a module into train or eval mode. What a mined module's own `train` returns is not used: it may be nothing."""

from __future__ import annotations

from torch import nn


def training(net: nn.Module) -> nn.Module:
    """Return the module, in train mode."""
    net.train()
    return net


def evaluating(net: nn.Module) -> nn.Module:
    """Return the module, in eval mode."""
    net.eval()
    return net
