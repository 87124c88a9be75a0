"""Ways to run a module: in train or eval mode, and without its warnings.

What a mined module's own `train` returns is not used: it may be nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def training(net: nn.Module) -> nn.Module:
    """Return the module, in train mode."""
    net.train()
    return net


def evaluating(net: nn.Module) -> nn.Module:
    """Return the module, in eval mode."""
    net.eval()
    return net


@contextmanager
def quiet() -> Iterator[None]:
    """Keep mined code from warning of what was done to it: odd arguments are what a search tries."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
