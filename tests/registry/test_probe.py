"""Modules that are hard to build or to call: their arguments are found, and their contracts say how they are called."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from llmastool.mining.bundle import read_bundles
from llmastool.mining.mine import mine_source, write
from llmastool.mining.sources import SourceSpec
from llmastool.registry.call import example
from llmastool.registry.claims import claims
from llmastool.registry.contract import Contract, solve
from llmastool.registry.pool import ProbeConfig
from llmastool.registry.register import register
from llmastool.registry.runner import forward
from llmastool.registry.values import Resolver

SOURCE = """
from dataclasses import dataclass
import torch
from torch import nn
import torch.nn.functional as F


@dataclass
class Settings:
    dim: int
    heads: int = 4


class Configured(nn.Module):
    def __init__(self, settings: Settings):
        super().__init__()
        self.attend = nn.MultiheadAttention(settings.dim, settings.heads, batch_first=True)

    def forward(self, x):
        return self.attend(x, x, x)[0]


class Loose(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.conv = nn.Conv2d(cfg.in_channels, cfg.out_channels, cfg.kernel_size)

    def forward(self, x):
        return self.conv(x)


class Pooled(nn.Module):
    def __init__(self, how):
        super().__init__()
        if how not in ("mean", "peak"):
            raise ValueError(f"unknown {how}")
        self.how = how

    def forward(self, x):
        return x.mean((2, 3)) if self.how == "mean" else x.amax((2, 3))


class Levels(nn.Module):
    def __init__(self, widths):
        super().__init__()
        first, second, third = widths
        self.convs = nn.Sequential(nn.Conv2d(3, first, 1), nn.Conv2d(first, second, 1), nn.Conv2d(second, third, 1))

    def forward(self, x):
        return self.convs(x)


class Cross(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.q, self.kv = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)

    def forward(self, x, context):
        k, v = self.kv(context).chunk(2, -1)
        return (self.q(x) @ k.transpose(1, 2)).softmax(-1) @ v


class Both(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        y = self.conv(x)
        return {"sum": y.mean((2, 3)), "map": y}


class Sequence(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.conv(x).relu()


class Volume(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.conv(x)


class Valid(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3)

    def forward(self, x):
        return self.conv(x)


class Narrow(nn.Module):
    def __init__(self, channels: int = 16):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        return self.norm(self.conv(x.relu()))


class NarrowLast(nn.Module):
    def __init__(self, dim: int = 16):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(dim, dim, 3, padding=1), nn.Linear(dim, dim)

    def forward(self, x):
        return x + self.fc(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class Windows(nn.Module):
    def __init__(self, dim: int, window: int = 7):
        super().__init__()
        self.window, self.mix = window, nn.Linear(dim, dim)

    def forward(self, x):
        b, c, h, w = x.shape
        n = self.window
        x = x.reshape(b, c, h // n, n, w // n, n).permute(0, 2, 4, 3, 5, 1)
        return self.mix(x).permute(0, 5, 1, 3, 2, 4).reshape(b, c, h, w)


class Centred(nn.Module):
    def forward(self, x):
        return x - x.mean(0, keepdim=True)


class Loss(nn.Module):
    def forward(self, x, target):
        return F.cross_entropy(x, target)


class Wrapped(nn.Module):
    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class Odd(nn.Module):
    def __init__(self, recipe):
        super().__init__()
        self.net = nn.Sequential(*[nn.Conv2d(int(a), int(b), 1) for a, b in (pair.split(">") for pair in recipe.split(","))])

    def forward(self, x):
        return self.net(x)


class Smooth(nn.Module):
    def __init__(self, kernel_size: int, stride: int = 1):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, x):
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.kernel_size // 2, count_include_pad=False)


class Tempered(nn.Module):
    def __init__(self, temperature: float = 1.0, shift: int = 1):
        super().__init__()
        self.temperature, self.shift = temperature, shift

    def forward(self, x):
        return torch.sin(x / self.temperature) + self.shift


class Flipped(nn.Module):
    def forward(self, x):
        return x.flip(-1) if torch.rand(()) < 0.5 else x


class Grows(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, out_channels, 4, 2, 1)

    def forward(self, x):
        return self.up(x)


class GrowsMuch(nn.Module):
    def __init__(self, in_channels, out_channels, width=2048):
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, width, 4, 2, 1)
        self.out = nn.Conv2d(width, out_channels, 1)

    def forward(self, x):
        return self.out(self.up(x))


class Holder(nn.Module):
    def __init__(self, recipe="3>8,8>16", classes=10):
        super().__init__()
        self.odd, self.fc = Odd(recipe=recipe), nn.Linear(16, classes)

    def forward(self, x):
        return self.fc(self.odd(x).mean((2, 3)))
"""


@pytest.fixture(scope="module")
def probed(registry_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Resolver]:
    folder = tmp_path_factory.mktemp("hard")
    shutil.copy(registry_folder.parent / "probes.jsonl", folder / "cache.jsonl")  # of the modules that are not mined
    package = folder / "hard"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text(SOURCE)
    write([mine_source(SourceSpec(kind="path", name="hard", path=str(package)))], folder / "mine")
    register(folder / "mine", folder / "registry", ProbeConfig(workers=2), cache=folder / "cache.jsonl")
    rows = pl.read_parquet(folder / "registry" / "registry.parquet").filter(pl.col("source") == "hard").to_dicts()
    found = {row["name"].rpartition(".")[2]: row for row in rows}
    return found, Resolver({b.id: b for b in read_bundles(folder / "mine" / "bundles.jsonl")})


def contract(probed: tuple[dict[str, Any], Resolver], name: str) -> Contract:
    row = probed[0][name]
    assert row["stage"] == "ok", row["message"]
    return Contract.from_json(json.loads(row["contracts"])[0])


ALL = [re.split(r"[(:]", line)[0].removeprefix("class ") for line in SOURCE.splitlines() if line.startswith("class ")]


@pytest.mark.parametrize("name", [n for n in ALL if n != "Settings"])
def test_contract_holds_on_shapes_that_it_claims(probed: tuple[dict[str, Any], Resolver], name: str) -> None:
    found, resolver = probed
    learned = contract(probed, name)
    bundle = resolver.bundles[found[name]["module"]]
    assert learned.held == learned.checked
    tried = list(claims(learned, 12, seed=7))
    assert tried
    for claim in tried:
        args = solve(learned, claim.in_shape, claim.out_shape)
        assert args is not None
        net = resolver.find(bundle.id)(**{k: resolver.decode(v, bundle) for k, v in args.items()})
        out = forward(net, example(claim.in_shape, learned.call.dtype), learned.call)
        assert tuple(out.shape) == claim.out_shape


def test_settings_are_made_of_their_class_or_of_what_the_constructor_reads(
    probed: tuple[dict[str, Any], Resolver],
) -> None:
    assert contract(probed, "Configured").args["settings"]["$call"]["func"]["$ref"].endswith("hard.parts.Settings")
    assert contract(probed, "Loose").args["cfg"]["$call"]["func"] == {"$ref": "types.SimpleNamespace"}
    assert probed[0]["Loose"]["origin"] == "solved"


def test_arguments_are_solved_from_errors_and_source(probed: tuple[dict[str, Any], Resolver]) -> None:
    assert contract(probed, "Pooled").args["how"] in ("mean", "peak")
    assert len(contract(probed, "Levels").args["widths"]) == 3


def test_arguments_are_seen_where_another_module_builds_this_one(probed: tuple[dict[str, Any], Resolver]) -> None:
    assert contract(probed, "Odd").args == {"recipe": "3>8,8>16"}
    assert probed[0]["Odd"]["origin"] == "seen in hard.parts.Holder"


def test_several_inputs_and_outputs_are_called_as_the_contract_says(probed: tuple[dict[str, Any], Resolver]) -> None:
    cross, both = contract(probed, "Cross"), contract(probed, "Both")
    assert len(cross.call.args) == 2
    assert not cross.plain
    assert both.call.picks == ("map",)
    assert both.out_shape == both.in_shape


def test_layouts(probed: tuple[dict[str, Any], Resolver]) -> None:
    layouts = {name: contract(probed, name).layout_in for name in ("Sequence", "Volume", "Cross", "Valid", "Pooled")}
    assert layouts == {"Sequence": "NCL", "Volume": "NCDHW", "Cross": "BNC", "Valid": "NCHW", "Pooled": "NCHW"}


def test_a_default_width_that_is_the_size_of_maps_is_not_taken_for_it(
    probed: tuple[dict[str, Any], Resolver],
) -> None:
    for name, layout, arg in (("Narrow", "NCHW", "channels"), ("NarrowLast", "NHWC", "dim")):
        layouts = [c["layout_in"] for c in json.loads(probed[0][name]["contracts"])]
        learned = contract(probed, name)
        assert layouts == [layout]
        assert learned.in_args == {arg: "1"} and not learned.size_args


def test_sizes_that_do_not_scale_alone(probed: tuple[dict[str, Any], Resolver]) -> None:
    valid, windows = contract(probed, "Valid"), contract(probed, "Windows")
    assert (valid.size_ratio, valid.size_offset) == ("1", -2)
    assert windows.size_divisor % 7 == 0
    assert solve(windows, (2, 32, 30, 30), (2, 32, 30, 30)) is None


def test_what_mixes_samples_is_known_and_does_not_stand_in_networks(probed: tuple[dict[str, Any], Resolver]) -> None:
    centred = contract(probed, "Centred")
    assert not centred.per_sample
    assert not centred.plain


@pytest.mark.parametrize("name", ["Grows", "GrowsMuch"])
def test_channels_that_meta_does_not_check_are_checked(probed: tuple[dict[str, Any], Resolver], name: str) -> None:
    """There, a transposed convolution takes any number of channels, and the larger of the two is looked at there."""
    learned = contract(probed, name)
    assert not learned.any_channels
    assert (learned.in_args, learned.out_args) == ({"in_channels": "1"}, {"out_channels": "1"})


def test_loss_gives_a_number(probed: tuple[dict[str, Any], Resolver]) -> None:
    loss = contract(probed, "Loss")
    assert loss.layout_out == "other"
    assert loss.out_shape == ()


def test_call_fills_in_what_follows_the_main_tensor(probed: tuple[dict[str, Any], Resolver]) -> None:
    args, _ = contract(probed, "Cross").call.inputs(torch.zeros(3, 5, 32))
    assert [tuple(a.shape) for a in args] == [(3, 5, 32), (3, 5, 32)]


def test_an_argument_that_is_as_large_as_the_channels_by_chance_does_not_follow_them(
    probed: tuple[dict[str, Any], Resolver],
) -> None:
    """A window of 3 on an image of 3 channels stays a window of 3."""
    smooth = contract(probed, "Smooth")
    assert smooth.any_channels and not smooth.in_args
    assert (solve(smooth, (2, 64, 32, 32), (2, 64, 32, 32)) or {})["kernel_size"] == smooth.args["kernel_size"]


def test_what_draws_by_chance_in_eval_mode_is_not_deterministic(probed: tuple[dict[str, Any], Resolver]) -> None:
    assert not contract(probed, "Flipped").deterministic
    assert contract(probed, "Smooth").deterministic


def test_free_values_leave_a_module_that_can_be_trained(probed: tuple[dict[str, Any], Resolver]) -> None:
    free = contract(probed, "Tempered").free
    assert len(free["shift"]) > 1
    assert all(value != 0 for value in free.get("temperature", ()))
