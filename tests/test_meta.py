"""What is taken a short way on the meta device has the shapes and the errors of the long way."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from llmastool.meta import ShapesOnly, shapes_only

MAP, TOKENS = (2, 8, 4, 4), (2, 5, 8)

CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "batch norm": (lambda: nn.BatchNorm2d(8), MAP),
    "batch norm without weights": (lambda: nn.BatchNorm2d(8, affine=False, track_running_stats=False), MAP),
    "batch norm of other channels": (lambda: nn.BatchNorm2d(6), MAP),
    "batch norm of one value": (lambda: nn.BatchNorm1d(8), (1, 8)),
    "layer norm": (lambda: nn.LayerNorm(8), TOKENS),
    "layer norm of two axes": (lambda: nn.LayerNorm((5, 8)), TOKENS),
    "layer norm of another width": (lambda: nn.LayerNorm(6), TOKENS),
    "group norm": (lambda: nn.GroupNorm(4, 8), MAP),
    "group norm of other channels": (lambda: nn.GroupNorm(2, 6), MAP),
    "group norm that does not divide": (lambda: nn.GroupNorm(3, 9), MAP),
    "activations": (lambda: nn.Sequential(nn.ReLU(), nn.GELU(), nn.Hardswish(), nn.ReLU6(), nn.Hardsigmoid()), MAP),
    "instance norm": (lambda: nn.InstanceNorm2d(8, affine=True, track_running_stats=True), MAP),
    "instance norm of one value": (lambda: nn.InstanceNorm2d(8), (2, 8, 1, 1)),
    "softmax": (lambda: nn.Sequential(nn.Softmax(1), nn.Softmax2d(), nn.LogSoftmax(-1), nn.Hardtanh()), MAP),
    "in place": (lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Hardswish(inplace=True), nn.Dropout(0.5, True)), MAP),
    "a layer of attention": (lambda: nn.TransformerEncoderLayer(8, 2, batch_first=True), TOKENS),
}


def outcome(make: Callable[[], nn.Module], shape: tuple[int, ...], *, short: bool) -> str:
    with torch.device("meta"), torch.no_grad(), shapes_only("meta" if short else "cpu"):
        net = make()
        try:
            out = net(torch.empty(shape))
        except (IndexError, RuntimeError, ValueError) as error:
            return f"{type(error).__name__} {error}"
        return f"{tuple(out.shape)} {out.dtype} {out.device}"


@pytest.mark.parametrize("name", CASES)
def test_the_short_way_ends_where_the_long_way_does(name: str) -> None:
    make, shape = CASES[name]
    short, long = outcome(make, shape, short=True), outcome(make, shape, short=False)
    assert short.split()[0] == long.split()[0]
    if short.startswith("("):
        assert short == long


def test_an_axis_that_is_not_there_is_seen_though_the_long_way_does_not_see_it() -> None:
    with pytest.raises(IndexError, match=r"Dimension out of range"):
        nn.Softmax(4)(torch.empty(MAP))
    assert outcome(lambda: nn.Softmax(4), MAP, short=True).startswith("IndexError Dimension out of range")


def test_real_numbers_are_left_alone() -> None:
    torch.manual_seed(0)
    expected = nn.BatchNorm2d(8)(torch.randn(MAP)), nn.Linear(4, 4).weight
    torch.manual_seed(0)
    with ShapesOnly():
        seen = nn.BatchNorm2d(8)(torch.randn(MAP)), nn.Linear(4, 4).weight
    assert all(torch.equal(a, b) for a, b in zip(expected, seen, strict=True))


def test_what_works_in_place_gives_the_same_tensor() -> None:
    with ShapesOnly(), torch.no_grad():
        x = torch.empty(MAP, device="meta")
        assert functional.relu(x, inplace=True) is x
        assert functional.relu(x) is not x
        assert functional.dropout(x, training=False) is x
        assert x.normal_() is x
