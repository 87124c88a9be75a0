"""`llmastool registry`: looks into a small registry that was mined and probed for real."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from llmastool.cli.output import clean
from llmastool.registry.contract import Contract, solve
from llmastool.registry.query import Table
from llmastool.registry.words import arguments, describe
from tests.cli.conftest import Run, parsed


@pytest.fixture
def folder(registry_folder: Path) -> tuple[str, str]:
    return "--registry", str(registry_folder)


def test_ls_lists_every_module_with_its_family_and_costs(run: Run, folder: tuple[str, str]) -> None:
    status, out, err = run("registry", "ls", *folder, "--source", "tiny")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["NAME", "FAMILY", "TAKES", "PARAMETERS", "FLOPS", "STAGE", "SOURCE"]
    assert len({line.index("gating") for line in lines if "gating" in line} | {lines[0].index("FAMILY")}) == 1
    assert "tiny.nets.Gate" in out and lines[-1] == f"{len(lines) - 2} modules"


def test_ls_says_why_modules_fell(run: Run, folder: tuple[str, str]) -> None:
    _, out, _ = run("registry", "ls", *folder, "--source", "tiny", "--failed")
    assert out.splitlines()[0].split() == ["NAME", "SOURCE", "STAGE", "REASON"]
    (line,) = (line for line in out.splitlines() if line.startswith("tiny.nets.Missing"))
    assert "build" in line and "package_that_is_not_there" in line
    assert "tiny.nets.Gate" not in out


def test_filters_of_ls_hold_together(run: Run, folder: tuple[str, str]) -> None:
    found = parsed(run, "registry", "ls", *folder, "--family", "normalisation", "--source", "torch")
    assert {"torch.nn.BatchNorm2d", "torch.nn.LayerNorm"} <= {row["name"] for row in found}
    assert all(row["family"] == "normalisation" and row["stage"] == "ok" for row in found)
    assert {row["stage"] for row in parsed(run, "registry", "ls", *folder, "--stage", "build")} == {"build"}
    assert len(parsed(run, "registry", "ls", *folder, "--limit", "3")) == 3
    _, out, _ = run("registry", "ls", *folder, "--limit", "3")
    assert out.splitlines()[-1].startswith("3 of ")


def test_ls_gives_every_module_once_as_json(run: Run, folder: tuple[str, str], registry_folder: Path) -> None:
    names = [row["module"] for row in parsed(run, "registry", "ls", *folder)]
    assert sorted(names) == sorted(pl.read_parquet(registry_folder / "registry.parquet")["module"].to_list())


def test_show_prints_provenance_signature_contract_and_source(run: Run, folder: tuple[str, str]) -> None:
    status, out, err = run("registry", "show", *folder, "Block")
    assert (status, err) == (0, "")
    for expected in (
        "source        tiny",
        "licence       not stated",
        "file          nets.py, lines ",
        "Block(in_channels: int, out_channels: int, stride: int = 1, norm=nn.BatchNorm2d)",
        "forward(x)",
        "A residual block.",
        "CONTRACT NCHW -> NCHW",
        "with in_channels = channels",
        "with out_channels = channels",
        "that of the input, divided by stride",
        "# ---- tiny.nets",
        "class Block(nn.Module):",
        "gain = 0.5",
    ):
        assert expected in out, expected
    assert "class Mixer" not in out, "only what the module needs"


def test_show_finds_a_module_by_id_hash_name_and_end_of_name(run: Run, folder: tuple[str, str]) -> None:
    module = parsed(run, "registry", "show", *folder, "tiny.nets.Block")["module"]
    for name in (module, module.partition("@")[2], "nets.Block", "Block"):
        assert parsed(run, "registry", "show", *folder, name)["module"] == module


def test_show_gives_contracts_and_bundle_as_json(run: Run, folder: tuple[str, str]) -> None:
    shown = parsed(run, "registry", "show", *folder, "tiny.nets.Gate")
    assert shown["bundle"]["name"] == "tiny.nets.Gate" and shown["family"] == "gating"
    assert Contract.from_json(shown["contracts"][0]).layout_in == "NCHW"
    assert parsed(run, "registry", "show", *folder, "torch.nn.GELU")["bundle"] is None


def test_find_solves_the_arguments(run: Run, folder: tuple[str, str]) -> None:
    question = ("--in", "2,64,16,16", "--out", "2,128,8,8", "--all")
    found = {row["name"]: row for row in parsed(run, "registry", "find", *folder, *question)}
    block = found["tiny.nets.Block"]
    assert (block["args"]["in_channels"], block["args"]["out_channels"], block["args"]["stride"]) == (64, 128, 2)
    assert "tiny.nets.Gate" not in found, "it keeps the channels"
    _, out, _ = run("registry", "find", *folder, *question)
    (line,) = (line for line in out.splitlines() if line.startswith("tiny.nets.Block"))
    assert "NCHW -> NCHW" in line and "out_channels=128" in line


def test_everything_found_really_fits(registry_folder: Path) -> None:
    fits = Table(registry_folder).find((2, 64, 16, 16), (2, 64, 16, 16))
    assert len(fits) > 5
    for fit in fits:
        assert fit.contract.plain and solve(fit.contract, (2, 64, 16, 16), (2, 64, 16, 16)) == fit.args
    costs = [fit.contract.parameters for fit in fits]
    assert costs == sorted(costs)


def test_find_narrows_by_layout_family_and_number(run: Run, folder: tuple[str, str]) -> None:
    question = ("--in", "2,16,64", "--out", "2,16,64")
    found = parsed(run, "registry", "find", *folder, *question, "--layout", "BNC", "--family", "normalisation")
    assert found and {(row["layout_in"], row["family"]) for row in found} == {("BNC", "normalisation")}
    _, out, _ = run("registry", "find", *folder, *question, "--limit", "1")
    assert out.splitlines()[-2].startswith("1 of ")
    assert parsed(run, "registry", "find", *folder, "--in", "2,3", "--out", "2,4,5,6,7,8") == []


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ("ls", "--family", "activaton"),
            "activaton: expected a family of .*, found none of it; did you mean 'activation'",
        ),
        (("ls", "--source", "zzz"), "zzz: expected a source of .* there are: .*tiny"),
        (("show", "Blok"), "Blok: expected a module of .*, found none; did you mean tiny.nets.Block"),
        (("show", "nothing.like.it.at.all.Qqqq"), "`registry ls` lists them"),
        (("find", "--in", "2,x", "--out", "2"), "expected a shape, batch first, such as 2,64,16,16"),
        (("find", "--in", "2,0,4", "--out", "2"), "expected a shape, batch first"),
        (
            ("find", "--in", "2,4", "--out", "2,4", "--layout", "NCWH"),
            "NCWH: expected a layout, one of NCHW, NHWC, BNC",
        ),
        (("show", "gATE"), "gATE: expected a module of .*, found none; did you mean tiny.nets.Gate"),
        (("show", " "), "expected the name of a module, got none"),
    ],
)
def test_mistakes_are_told_with_status_2(
    argv: tuple[str, ...], message: str, run: Run, folder: tuple[str, str]
) -> None:
    import re

    status, out, err = run("registry", argv[0], *folder, *argv[1:])
    assert (status, out) == (2, "")
    assert re.search(message, err) and len(err.splitlines()) == 1


def test_a_name_that_several_modules_have_is_told(run: Run, registry_folder: Path, tmp_path: Path) -> None:
    frame = pl.read_parquet(registry_folder / "registry.parquet")
    twin = frame.filter(pl.col("name") == "tiny.nets.Gate")
    twin = twin.with_columns(pl.lit("other.Gate@0123456789ab").alias("module"), pl.lit("other.Gate").alias("name"))
    pl.concat([frame, twin]).write_parquet(tmp_path / "registry.parquet")
    status, _, err = run("registry", "show", "--registry", str(tmp_path), "Gate")
    assert status == 2
    assert "Gate: expected one module, found 2: other.Gate@0123456789ab, tiny.nets.Gate@" in err


def test_a_missing_a_broken_and_an_older_registry_are_told(run: Run, registry_folder: Path, tmp_path: Path) -> None:
    place = ("--registry", str(tmp_path))
    assert "expected a registry (registry.parquet), found none; make one with" in run("registry", "ls", *place)[2]
    (tmp_path / "registry.parquet").write_bytes(b"PAR1 but no more")
    assert "cannot be read" in run("registry", "ls", *place)[2]
    frame = pl.read_parquet(registry_folder / "registry.parquet")
    old = frame.with_columns(pl.lit('[{"layout_in": "NCHW"}]').alias("contracts"))
    old.write_parquet(tmp_path / "registry.parquet")
    assert "build the registry again" in run("registry", "find", *place, "--in", "2,4", "--out", "2,4")[2]


def test_a_registry_is_built_and_the_second_time_left_alone(run: Run, registry_folder: Path, tmp_path: Path) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache" / "probes.jsonl"
    places = ("--mined", str(registry_folder.parent / "mined"), "--out", str(out), "--cache", str(cache))
    cache.parent.mkdir()
    shutil.copy(registry_folder.parent / "probes.jsonl", cache)  # what the fixture probed is not probed again
    status, said, _ = run("registry", "build", *places)
    assert status == 0
    heads, tiny = said.splitlines()[0].split(), said.splitlines()[1].split()
    assert heads == ["SOURCE", "FOUND", "SLICED", "LOADED", "BUILT", "FORWARD", "BACKWARD", "CONTRACT"]
    assert tiny[0] == "tiny" and tiny[1] == tiny[2]
    written = (out / "registry.parquet").stat().st_mtime_ns
    assert run("registry", "build", *places) == (0, said, "")
    assert (out / "registry.parquet").stat().st_mtime_ns == written
    assert run("registry", "build", *places, "--mined", str(tmp_path))[0] == 2


def test_nothing_to_build_from_is_told(run: Run, tmp_path: Path) -> None:
    assert "run `llmastool mine` first" in run("registry", "build", "--mined", str(tmp_path))[2]


def test_text_of_strangers_cannot_steer_a_terminal(run: Run, registry_folder: Path, tmp_path: Path) -> None:
    assert clean("a\x1b[31mb\rc\u202ed\te\nf\x00") == "a\\x1b[31mb\\rc\\u202ed\te\nf\\x00"
    frame = pl.read_parquet(registry_folder / "registry.parquet")
    evil = frame.with_columns(pl.lit("\x1b]0;owned\x07").alias("message"), pl.lit("\x1b[2J").alias("docstring"))
    evil.write_parquet(tmp_path / "registry.parquet")
    shutil.copy(registry_folder / "bundles.jsonl", tmp_path)
    place = ("--registry", str(tmp_path))
    for argv in (("ls", "--failed"), ("ls", "--json"), ("show", "Gate"), ("show", "Gate", "--json")):
        assert "\x1b" not in run("registry", argv[0], *place, *argv[1:])[1]


def test_arguments_read_as_in_a_call() -> None:
    given = {
        "dim": 8,
        "act": {"$ref": "torch.nn.GELU"},
        "size": {"$tuple": [3]},
        "norm": {"$partial": {"func": {"$ref": "torch.nn.LayerNorm"}, "args": [], "kwargs": {"eps": 1e-6}}},
        "body": {"$tree": {"module": "torch.nn.Linear", "args": {"in_features": 1, "out_features": 2}}},
        "table": {"a": [1, None]},
    }
    assert arguments(json.loads(json.dumps(given))) == (
        "dim=8, act=torch.nn.GELU, size=(3,), norm=partial(torch.nn.LayerNorm, eps=1e-06), "
        "body=torch.nn.Linear(in_features=1, out_features=2), table={'a': [1, None]}"
    )


@pytest.mark.parametrize(
    ("fields", "about", "said"),
    [
        ({"in_args": {"dim": "1"}, "divisor": 8, "min_channels": 8}, "channels in", "in steps of 8 from 8, with dim = channels"),
        ({"in_args": {"heads": "1/4"}, "min_channels": 4}, "channels in", "from 4, with heads = 1/4 of channels"),
        ({}, "channels in", "32 only"),
        ({"any_channels": True}, "channels in", "from 1, arguments unchanged"),
        ({"out_ratio": "2"}, "channels out", "2 of those in"),
        ({}, "channels out", "always 64"),
        ({"any_size": False}, "size in", "16x16 only"),
        ({"size_divisor": 4, "min_size": 3, "square": True}, "size in", "in steps of 4 from 4, all sides equal"),
        ({"size_args": ("img_size",)}, "size in", "from 1, all sides equal, with img_size = size"),
        ({"size_ratio": "1/2", "size_offset": -1}, "size out", "1/2 of that of the input - 1"),
        ({"size_ratio": "1", "stride_arg": "s", "max_stride": 4}, "size out", "that of the input, divided by s (1 to 4)"),
        ({}, "size out", "always the same"),
        ({"batch_one": False}, "batch", "any, not one (it cannot be trained on)"),
        ({"checked": 5, "held": 4}, "tested", "on 5 shapes that it was not inferred from; it held on 4"),
    ],
)  # fmt: skip
def test_a_contract_in_words(fields: dict[str, object], about: str, said: str) -> None:
    shapes = {"in_shape": (2, 32, 16, 16), "out_shape": (2, 64, 16, 16)}
    contract = Contract(layout_in="NCHW", layout_out="NCHW", args={}, **shapes, **fields)  # type: ignore[arg-type]
    assert dict(describe(contract))[about] == said


def test_find_answers_for_vectors(run: Run, folder: tuple[str, str]) -> None:
    found = parsed(run, "registry", "find", *folder, "--in", "2,64", "--out", "2,10", "--layout", "BC")
    (linear,) = (row for row in found if row["name"] == "torch.nn.Linear")
    assert (linear["args"]["in_features"], linear["args"]["out_features"]) == (64, 10)
    (contract,) = (c for c in Table(Path(folder[1])).find((3, 8), (3, 8)) if c.row["name"] == "torch.nn.Linear")
    assert contract.contract.checked > 0
    assert contract.contract.any_batch


def test_find_says_so_where_nothing_fits(run: Run, folder: tuple[str, str]) -> None:
    status, out, _ = run("registry", "find", *folder, "--in", "2,64,16,16", "--out", "3,64,16,16")
    assert status == 0
    assert out.startswith("no module is known to map one of these shapes to the other; both are batch first")
