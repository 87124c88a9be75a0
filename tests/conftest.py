"""What many tests share: one small registry, mined and probed for real once a session."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# What tests start is sent Ctrl-C, which a shell that runs them in the background has them ignore.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SOURCE = '''
import torch
from torch import nn
from .extra import gain


class Gate(nn.Module):
    """Scale channels by what they hold."""

    def __init__(self, channels: int, reduction: int = 2):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(self.pool(x)))))


class Block(nn.Module):
    """A residual block."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, norm=nn.BatchNorm2d):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, stride, 1), norm(out_channels), nn.ReLU())
        self.gate = Gate(out_channels)
        self.short = nn.Conv2d(in_channels, out_channels, 1, stride)

    def forward(self, x):
        return self.gate(self.conv(x)) + gain * self.short(x)


class Mixer(nn.Module):
    """Attend over tokens."""

    def __init__(self, dim: int, heads: int = 4):
        super().__init__()
        self.attend = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, x):
        return x + self.attend(x, x, x, need_weights=False)[0]


class Net(nn.Module):
    """A whole network."""

    def __init__(self, block=Block, widths=(8, 16), num_classes: int = 10):
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, 2, 1)
        self.layers = nn.Sequential(block(widths[0], widths[0]), block(widths[0], widths[1], stride=2))
        self.fc = nn.Linear(widths[1], num_classes)

    def forward(self, x):
        return self.fc(self.layers(self.stem(x)).mean((2, 3)))


class Two(nn.Module):
    def forward(self, x, y):
        return x + y


class Pair(nn.Module):
    def forward(self, x):
        return x, x


class Nothing(nn.Module):
    def forward(self, x):
        return None


class Unbuildable(nn.Module):
    def __init__(self, config):
        super().__init__()
        raise LookupError(f"there is no config of name {config}")

    def forward(self, x):
        return x


class Missing(nn.Module):
    def __init__(self):
        super().__init__()
        import package_that_is_not_there

    def forward(self, x):
        return x
'''


@pytest.fixture(scope="session")
def small_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package of a few modules."""
    root = tmp_path_factory.mktemp("small") / "tiny"
    root.mkdir()
    (root / "__init__.py").write_text("from .nets import *\n")
    (root / "extra.py").write_text("gain = 0.5\n")
    (root / "nets.py").write_text(SOURCE)
    return root


@pytest.fixture(scope="session")
def registry_folder(small_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry of that source and of `torch.nn`, made in the sandbox; once for all processes that test side by side."""
    from llmastool.mining.mine import mine_source, write
    from llmastool.mining.sources import SourceSpec
    from llmastool.registry.pool import ProbeConfig
    from llmastool.registry.register import register

    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            write([mine_source(SourceSpec(kind="path", path=str(small_source)))], folder / "mined")
            register(folder / "mined", folder / "registry", ProbeConfig(), folder / "probes.jsonl")
            (folder / "done").touch()
    return folder / "registry"
