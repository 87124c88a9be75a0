"""From stored pixels to what a network sees: normalised, cropped at random, mirrored at random, a batch at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from llmastool.canonical import Json


@dataclass(frozen=True)
class Normaliser:
    """Turns uint8 images into floats of mean 0 and standard deviation 1, by channel of the train split."""

    mean: Tensor
    """In 0..255, shape `(1, C, 1, 1)`."""
    std: Tensor
    """In 0..255, shape `(1, C, 1, 1)`."""

    @staticmethod
    def of(meta: Mapping[str, Json], device: torch.device) -> Normaliser:
        """Make it of a prepared folder's meta."""
        mean, std = (torch.tensor(meta[k], device=device).view(1, -1, 1, 1) * 255 for k in ("mean", "std"))
        return Normaliser(mean, std)

    def __call__(self, images: Tensor) -> Tensor:
        """Map uint8 `(n, C, H, W)` to float32 of the same shape, and the same layout in memory."""
        return images.float().sub_(self.mean).div_(self.std)


def draw(count: int, padding: int, mirror: bool, seed: int) -> tuple[Tensor, Tensor]:
    """Draw an epoch's order and views, alike on every device.

    Args:
        count: number of images.
        padding: width of the border that crops may reach into, in pixels.
        mirror: whether half of the views are mirrored.
        seed: seed of the draw.

    Returns:
        The order int64 `(count,)`, and for each place in it a view int64 `(count, 3)`, as `crop` takes it.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(count, generator=generator)
    corners = torch.randint(0, 2 * padding + 1, (count, 2), generator=generator)
    flips = torch.randint(0, 2, (count, 1), generator=generator) * int(mirror)
    return order, torch.cat([corners, flips], dim=1)


def crop(images: Tensor, views: Tensor, padding: int) -> Tensor:
    """Cut each image out of itself with a black border, mirrored or not, all in one indexing.

    Args:
        images: uint8 `(n, C, H, W)`.
        views: int64 `(n, 3)`: row and column of the upper left corner in 0..2*padding, and 1 to mirror or 0.
        padding: width of the border in pixels.

    Returns:
        uint8 `(n, C, H, W)`, channels last in memory.
    """
    n, channels, height, width = images.shape
    padded = images.new_zeros(n, height + 2 * padding, width + 2 * padding, channels)
    padded[:, padding : padding + height, padding : padding + width] = images.permute(0, 2, 3, 1)
    # All windows as a view, (n, rows, columns, C, H, W), of which one of each image is taken.
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)
    taken = windows[torch.arange(n, device=images.device), views[:, 0], views[:, 1]]
    return torch.where((views[:, 2] == 1).view(n, 1, 1, 1), taken.flip(3), taken)
