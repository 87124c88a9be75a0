"""A module to mine."""

import torch
from torch import nn


class Gate(nn.Module):
    """Weigh channels by their mean."""

    def __init__(self, channels: int, ratio: int = 2) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, channels // ratio, 1), nn.Conv2d(channels // ratio, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale each channel by what its mean says."""
        return x * torch.sigmoid(self.up(self.down(x.mean((2, 3), keepdim=True)).relu()))
