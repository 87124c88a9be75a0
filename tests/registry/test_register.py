"""Probing a small source in the sandbox, for real."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from llmastool.canonical import read_json
from llmastool.errors import RegistryError
from llmastool.registry.contract import Contract, solve
from llmastool.registry.pool import ProbeConfig
from llmastool.registry.register import register
from llmastool.registry.store import Entry, Registry
from llmastool.runs import registry_digest


@pytest.fixture(scope="module")
def registry(registry_folder: Path) -> Registry:
    return Registry.open(registry_folder)


def entry(registry: Registry, name: str) -> Entry:
    return next(e for e in registry.entries.values() if e.name == name)


def test_what_runs_is_registered_and_what_fell_says_where_and_why(registry_folder: Path) -> None:
    table = pl.read_parquet(registry_folder / "registry.parquet").filter(pl.col("source") == "tiny")
    stages = {row["name"].removeprefix("tiny.nets."): (row["stage"], row["message"]) for row in table.to_dicts()}
    assert {n for n, (stage, _) in stages.items() if stage == "ok"} == {"Gate", "Block", "Mixer", "Net", "Two", "Pair"}
    assert stages["Nothing"] == (
        "forward",
        "NotATensor: forward returned NoneType, expected a floating-point tensor",
    )
    assert stages["Unbuildable"][0] == "build" and "config" in stages["Unbuildable"][1]
    assert stages["Missing"][0] == "build" and "package_that_is_not_there" in stages["Missing"][1]


def test_the_summary_counts_a_funnel(registry_folder: Path) -> None:
    tiny = next(s for s in read_json(registry_folder / "summary.json")["sources"] if s["name"] == "tiny")
    funnel = [tiny[k] for k in ("found", "sliced", "loaded", "built", "forward", "backward", "contract")]
    assert funnel == [9, 9, 9, 7, 6, 6, 6]


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("tiny.nets.Gate", "gating"),
        ("tiny.nets.Mixer", "residual block"),
        ("tiny.nets.Net", "network"),
        ("torch.nn.Conv2d", "convolution"),
        ("torch.nn.BatchNorm2d", "normalisation"),
        ("torch.nn.LayerNorm", "normalisation"),
        ("torch.nn.GELU", "activation"),
        ("torch.nn.MaxPool2d", "pooling"),
        ("torch.nn.Linear", "linear"),
        ("torch.nn.Dropout", "regularisation"),
        ("torch.nn.TransformerEncoderLayer", "attention"),
    ],
)
def test_families_come_from_behaviour(registry: Registry, name: str, family: str) -> None:
    assert entry(registry, name).family == family


def test_a_contract_says_which_argument_moves_which_dimension(registry: Registry) -> None:
    (contract,) = entry(registry, "tiny.nets.Block").contracts
    assert (contract.layout_in, contract.layout_out) == ("NCHW", "NCHW")
    assert dict(contract.in_args) == {"in_channels": "1"}
    assert dict(contract.out_args) == {"out_channels": "1"}
    assert contract.stride_arg == "stride"
    assert contract.size_ratio == "1" and contract.any_size
    assert not entry(registry, "tiny.nets.Mixer").contracts[0].stride_arg


def test_limits_are_seen(registry: Registry) -> None:
    contract = next(c for c in entry(registry, "tiny.nets.Mixer").contracts if c.layout_in == "BNC")
    assert contract.divisor == 4
    assert contract.free["heads"][0] == 4
    assert solve(contract, (2, 9, 30), (2, 9, 30)) is None
    assert solve(contract, (2, 9, 24), (2, 9, 24)) is not None


@pytest.mark.parametrize(
    ("in_shape", "out_shape", "expected"),
    [
        ((2, 12, 8, 8), (2, 20, 8, 8), {"in_channels": 12, "out_channels": 20}),
        ((2, 12, 8, 8), (2, 20, 4, 4), {"in_channels": 12, "out_channels": 20, "stride": 2}),
        ((2, 12, 8, 8), (2, 20, 3, 3), None),
        ((2, 12, 8, 8), (2, 20, 16, 16), None),
        ((2, 12, 8, 8), (2, 20), None),
    ],
)
def test_solve_gives_arguments_or_says_that_none_fit(
    registry: Registry, in_shape: tuple[int, ...], out_shape: tuple[int, ...], expected: dict[str, int] | None
) -> None:
    (contract,) = entry(registry, "tiny.nets.Block").contracts
    assert solve(contract, in_shape, out_shape) == expected


def test_arguments_without_effect_are_not_free(registry: Registry) -> None:
    assert "inplace" not in entry(registry, "torch.nn.ReLU").contracts[0].free
    assert entry(registry, "torch.nn.LeakyReLU").contracts[0].free["negative_slope"]


def test_contracts_hold_on_shapes_they_were_not_inferred_from(registry: Registry) -> None:
    """Every contract is solved for new channels and sizes, and the result is run."""
    from llmastool.errors import TreeError
    from llmastool.trees.catalog import Catalog
    from llmastool.trees.observe import out_shape
    from llmastool.trees.tree import Tree

    catalog, held, claimed = Catalog(registry), 0, 0
    for item in registry.entries.values():
        for contract in item.contracts:
            if not contract.plain or (contract.layout_in, contract.layout_out) != ("NCHW", "NCHW"):
                continue
            for channels, size in ((24, 8), (48, 12), (64, 20)):
                shape = (2, channels, size, size)
                args = solve(contract, shape, shape)
                if args is None:
                    continue
                claimed += 1
                try:
                    held += out_shape(Tree(item.module, args), catalog, shape) == shape
                except TreeError:
                    continue
    assert claimed > 150
    assert held / claimed >= 0.98


def test_contracts_survive_json(registry: Registry) -> None:
    for item in registry.entries.values():
        for contract in item.contracts:
            assert Contract.from_json(contract.to_json()) == contract


def test_a_second_run_probes_nothing_and_gives_the_same_files(registry_folder: Path, tmp_path: Path) -> None:
    base = registry_folder.parent
    cache = shutil.copy(base / "probes.jsonl", tmp_path)
    register(base / "mined", tmp_path / "again", ProbeConfig(), Path(cache))
    assert registry_digest(tmp_path / "again") == registry_digest(registry_folder)
    assert (tmp_path / "probes.jsonl").read_bytes() == (base / "probes.jsonl").read_bytes(), "nothing was probed anew"


def test_a_missing_or_empty_registry_says_what_to_do(registry_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"expected a registry.*dvc repro registry"):
        Registry.open(tmp_path)
    table = pl.read_parquet(registry_folder / "registry.parquet").filter(pl.col("stage") != "ok")
    table.write_parquet(tmp_path / "registry.parquet")
    with pytest.raises(RegistryError, match="at least one module that runs"):
        Registry.open(tmp_path)
    (tmp_path / "registry.parquet").write_bytes(b"nothing")
    with pytest.raises(RegistryError, match="cannot be read"):
        Registry.open(tmp_path)
