"""Ways to run a module: in train or eval mode, and without its warnings.

What a mined module's own `train` returns is not used: it may be nothing.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
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


@contextmanager
def drawing_alike(seed: int) -> Iterator[None]:
    """Let mined code draw the same whenever it runs: start the CPU's generators anew, and leave them as they were."""
    python, array = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(array)
