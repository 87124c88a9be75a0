"""The cell of NAS-Bench-201 and its operations, to be mined: three sums over six edges."""

import torch
from torch import nn


class NorConv3x3(nn.Module):
    """ReLU, a convolution of 3x3, and batch normalisation."""

    def __init__(self, channels: int = 16):
        super().__init__()
        self.act = nn.ReLU()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        return self.norm(self.conv(self.act(x)))


class NorConv1x1(nn.Module):
    """ReLU, a convolution of 1x1, and batch normalisation."""

    def __init__(self, channels: int = 16):
        super().__init__()
        self.act = nn.ReLU()
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        return self.norm(self.conv(self.act(x)))


class AvgPool3x3(nn.Module):
    """An average over 3x3 that keeps the resolution."""

    def __init__(self):
        super().__init__()
        self.pool = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)

    def forward(self, x):
        return self.pool(x)


class SkipConnect(nn.Module):
    """The input itself."""

    def __init__(self):
        super().__init__()
        self.op = nn.Identity()

    def forward(self, x):
        return self.op(x)


class Nothing(nn.Module):
    """Zeros: no connection."""

    def forward(self, x):
        return torch.zeros_like(x)


class Cell(nn.Module):
    """Four nodes; every later one is the sum of what the edges from the earlier ones give."""

    def __init__(self, channels: int = 16):
        super().__init__()
        self.edge_0_1 = NorConv3x3(channels)
        self.edge_0_2 = NorConv3x3(channels)
        self.edge_1_2 = NorConv3x3(channels)
        self.edge_0_3 = NorConv3x3(channels)
        self.edge_1_3 = NorConv3x3(channels)
        self.edge_2_3 = NorConv3x3(channels)

    def forward(self, x):
        one = self.edge_0_1(x)
        two = self.edge_0_2(x) + self.edge_1_2(one)
        return self.edge_0_3(x) + self.edge_1_3(one) + self.edge_2_3(two)
