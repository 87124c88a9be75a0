"""Modules that are the same stand once, with all their origins."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from llmastool.canonical import read_json
from llmastool.mining.mine import mine_source, write
from llmastool.mining.sources import SourceSpec
from llmastool.registry.pool import ProbeConfig
from llmastool.registry.query import Table
from llmastool.registry.register import register
from llmastool.registry.store import Registry

UNIT = """
from torch import nn


class {name}(nn.Module):
    def __init__(self, {dim}, rate=0.1):
        super().__init__()
        self.{layer} = nn.Sequential(nn.Conv2d({dim}, {dim}, 3, 1, 1), nn.BatchNorm2d({dim}), nn.ReLU())
        self.drop = nn.Dropout(rate)

    def forward(self, x):
        return self.drop(self.{layer}(x))
"""

SQUARES = '''
import torch
from torch import nn


class Square(nn.Module):
    def forward(self, x):
        return x * x


class Power(nn.Module):
    def forward(self, value):
        return torch.pow(value, 2)


class Cube(nn.Module):
    def forward(self, x):
        return x * x * x


class Split(nn.Module):
    """The same function as `Whole`, its parameters in another order and under other names."""

    def __init__(self, dim):
        super().__init__()
        self.up = nn.Linear(dim, 3 * dim)
        self.scale = nn.Parameter(torch.ones(dim))
        self.down = nn.Linear(3 * dim, dim)

    def forward(self, x):
        return self.scale * self.down(torch.relu(self.up(x)))


class Whole(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.body = nn.Sequential(nn.Linear(width, 3 * width), nn.ReLU(), nn.Linear(3 * width, width))

    def forward(self, tokens):
        return self.body(tokens) * self.gain


class Rectifier(nn.Module):
    def forward(self, x):
        return x.clamp(min=0)
'''


@pytest.fixture(scope="module")
def folder(registry_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry in which some modules are the same."""
    root = tmp_path_factory.mktemp("same")
    source = root / "alike"
    source.mkdir()
    (source / "__init__.py").write_text("")
    (source / "squares.py").write_text(SQUARES)
    (source / "one.py").write_text(UNIT.format(name="Unit", dim="dim", layer="body"))
    (source / "copy.py").write_text(UNIT.format(name="Unit", dim="dim", layer="body"))
    (source / "renamed.py").write_text(UNIT.format(name="ConvUnit", dim="channels", layer="layers"))
    write([mine_source(SourceSpec(kind="path", path=str(source)))], root / "mined")
    cache = Path(shutil.copy(registry_folder.parent / "probes.jsonl", root / "probes.jsonl"))
    register(root / "mined", root / "registry", ProbeConfig(), cache)
    return root / "registry"


@pytest.fixture(scope="module")
def rows(folder: Path) -> dict[str, dict[str, str]]:
    table = pl.read_parquet(folder / "registry.parquet").to_dicts()
    return {row["name"].removeprefix("alike."): row for row in table}


def stands_for(row: dict[str, str]) -> str:
    return row["duplicate_of"].partition("@")[0].removeprefix("alike.")


def test_copies_and_renamed_copies_are_told_apart(rows: dict[str, dict[str, str]]) -> None:
    units = {name: rows[name] for name in ("one.Unit", "copy.Unit", "renamed.ConvUnit")}
    kinds = {name: (row["stage"], row["duplicate"]) for name, row in units.items()}
    assert sorted(kinds.values()) in (
        [("ok", ""), ("ok", "exact"), ("ok", "structural")],
        [("ok", ""), ("ok", "structural"), ("ok", "structural")],
    )
    assert len({stands_for(row) for row in units.values()} - {""}) == 1


def test_what_computes_the_same_is_the_same(rows: dict[str, dict[str, str]]) -> None:
    pairs = [("squares.Square", "squares.Power"), ("squares.Split", "squares.Whole")]
    for one, other in pairs:
        assert {rows[one]["duplicate"], rows[other]["duplicate"]} == {"", "behavioural"}
        assert other in stands_for(rows[one]) or one in stands_for(rows[other])
    assert not rows["squares.Cube"]["duplicate_of"]


def test_a_module_of_pytorch_stands_for_all_that_do_the_same(rows: dict[str, dict[str, str]]) -> None:
    assert rows["squares.Rectifier"]["duplicate_of"] == "torch.nn.ReLU"
    assert not rows["torch.nn.ReLU"]["duplicate_of"]


def test_only_one_of_the_same_is_proposed_and_all_can_be_built(folder: Path) -> None:
    registry = Registry.open(folder)
    names = [e.name for e in registry.distinct]
    assert "squares.Rectifier" not in names and sum("Unit" in n for n in names if n.startswith("alike")) == 1
    assert any(e.name == "alike.squares.Rectifier" for e in registry.entries.values())
    counts = read_json(folder / "summary.json")
    assert counts["distinct"] == len(names)
    assert sum(counts["duplicates"].values()) == len(registry.entries) - len(names)


def test_the_one_that_stands_for_others_names_their_origins(folder: Path) -> None:
    table = Table(folder)
    assert "alike.squares.Rectifier" in [row["name"] for row in table.same_as("torch.nn.ReLU")]
    fits = table.find((2, 8, 4), (2, 8, 4), family="activation")
    assert "alike.squares.Rectifier" not in [f.row["name"] for f in fits]
