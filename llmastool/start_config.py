"""What a search starts from, as the parameters say it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from llmastool.config import require


@dataclass(frozen=True, kw_only=True)
class Skeleton:
    """A scaled NAS-Bench-201 macro skeleton (Dong & Yang 2020), which has 16 channels and 5 cells a stage."""

    channels: int = 16
    """Channels of the first stage; they double with every stage."""
    cells: int = 5
    """Cells in each stage."""
    stages: int = 3
    """Stages; the resolution halves between them."""

    def __post_init__(self) -> None:
        require(self.channels >= 1, "channels", "1 or more", self.channels)
        require(self.cells >= 1, "cells", "1 or more", self.cells)
        require(self.stages >= 1, "stages", "1 or more", self.stages)

    @property
    def name(self) -> str:
        """Name for a reader."""
        return f"skeleton {self.channels}x{self.cells}x{self.stages}"


@dataclass(frozen=True, kw_only=True)
class MinedNetwork:
    """A whole network that was mined."""

    module: str
    """Qualified name of its class, e.g. `torchvision.models.resnet.ResNet`."""
    args: dict[str, Any] = field(default_factory=dict)
    """Constructor arguments; `{$ref: name}` for a class."""


@dataclass(frozen=True, kw_only=True)
class StartConfig:
    """What the search starts from."""

    skeletons: tuple[Skeleton, ...] = (Skeleton(),)
    """Scaled skeletons."""
    mined: tuple[MinedNetwork, ...] = ()
    """Mined networks."""
    min_size: int = 2
    """Smallest side of a mined network's last maps: its first strides are taken out until it is reached."""

    def __post_init__(self) -> None:
        require(bool(self.skeletons or self.mined), "skeletons", "at least one network to start from", ())
        require(self.min_size >= 1, "min_size", "1 or more", self.min_size)
