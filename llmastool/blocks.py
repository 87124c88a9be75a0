"""The few modules of our own: ways to join branches and to change layout. Each needs nothing but torch.

They are ordinary nodes of a tree; `llmastool.blocks.Residual` is the id of `Residual`.
"""

from __future__ import annotations

import torch
from torch import nn


class Residual(nn.Module):
    """Add a body to a shortcut: `body(x) + shortcut(x)`.

    The branches are filled in by the tree; an empty one passes its input on. He et al. 2016.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body: nn.Module = nn.Identity()
        self.shortcut: nn.Module = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map a tensor of any shape to the sum of both branches, which must agree in shape."""
        out: torch.Tensor = self.body(x) + self.shortcut(x)
        return out


class MapToTokens(nn.Module):
    """Turn an image map `(batch, channels, height, width)` into tokens `(batch, height * width, channels)`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the tokens, row by row."""
        return x.flatten(2).transpose(1, 2)


class TokensToMap(nn.Module):
    """Turn tokens `(batch, height * width, channels)` into a map `(batch, channels, height, width)`."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the map; the number of tokens must be `height * width`."""
        return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], self.height, self.width)


class ChannelsLast(nn.Module):
    """Move channels to the end: `(batch, channels, height, width)` to `(batch, height, width, channels)`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the permuted tensor."""
        return x.permute(0, 2, 3, 1)


class ChannelsFirst(nn.Module):
    """Move channels to the front: `(batch, height, width, channels)` to `(batch, channels, height, width)`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the permuted tensor."""
        return x.permute(0, 3, 1, 2)


class Gated(nn.Module):
    """Scale a body by a gate: `body(x) * sigmoid(gate(x))`.

    The branches are filled in by the tree; an empty one passes its input on. Hu et al. 2018 scale channels so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body: nn.Module = nn.Identity()
        self.gate: nn.Module = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map a tensor of any shape to the gated body; both branches must agree in shape."""
        out: torch.Tensor = self.body(x) * self.gate(x).sigmoid()
        return out


class Concat(nn.Module):
    """Stack the channels of a body and a branch: `cat([body(x), branch(x)])`. Szegedy et al. 2015.

    The branches are filled in by the tree; an empty one passes its input on.
    """

    def __init__(self, dim: int = 1) -> None:
        """Take the axis of the channels: 1 for maps with channels first and for vectors, 2 for tokens."""
        super().__init__()
        self.dim = dim
        self.body: nn.Module = nn.Identity()
        self.branch: nn.Module = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map a tensor to the stacked outputs, which must agree in all other sizes."""
        return torch.cat([self.body(x), self.branch(x)], dim=self.dim)
