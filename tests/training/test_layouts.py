"""Channels last where a network takes it, and as it was written where not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from llmastool.training.layouts import fastest, laid, lay

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def conv_net(*middle: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), *middle, *head)


class Viewed(nn.Module):
    """Takes a map for one that lies row by row."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(len(x), -1).view(x.shape)


class Asking(nn.Module):
    """Does something else to a map that does not lie row by row."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.is_contiguous() else 2 * x


class Chance(nn.Module):
    """Is never the same."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rand(())


def test_a_usual_network_takes_it_and_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    net = conv_net(nn.ReLU(), nn.Dropout(0.5))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert fastest(net, IMAGES, 4) == torch.channels_last
    assert torch.equal(torch.rand(3), expected), "nothing was drawn"
    assert net.training and all(p.grad is None and p.is_contiguous() for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("odd", [Viewed(), Asking(), Chance()], ids=lambda module: type(module).__name__)
def test_what_asks_how_a_map_lies_does_not(odd: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert fastest(conv_net(odd), IMAGES, 4) == torch.contiguous_format


def test_on_other_cpus_none_does_as_gradients_would_be_written_past_their_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert fastest(conv_net(nn.Conv2d(6, 6, 1, stride=2)), IMAGES, 4) == torch.contiguous_format


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_maps_that_are_made_of_images_lie_as_these_are_to(channels: int, layout: torch.memory_format) -> None:
    """Though the images came with their channels last, and one channel lies both ways."""
    images = torch.randn(2, 8, 8, channels).permute(0, 3, 1, 2)
    conv = nn.Conv2d(channels, 6, 3)
    lay(conv, layout)
    assert conv(laid(images, layout)).is_contiguous(memory_format=layout)
    assert torch.equal(laid(images, layout), images)
