"""`llmastool mine`: sources from the command line, mined for real."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmastool.cli.mine import source_of
from llmastool.errors import ConfigError
from llmastool.mining.bundle import read_bundles
from llmastool.mining.sources import SourceSpec
from tests.cli.conftest import Run, parsed


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("installed:torchvision", SourceSpec(name="torchvision")),
        ("path:../nets", SourceSpec(kind="path", path="../nets")),
        ("pypi:timm==1.0.31", SourceSpec(kind="pypi", name="timm", version="1.0.31")),
        ("git:https://h/o/r.git@v1", SourceSpec(kind="git", url="https://h/o/r.git", commit="v1")),
        ("git:git@h:o/r.git@main", SourceSpec(kind="git", url="git@h:o/r.git", commit="main")),
        ("git:../r@0123abc", SourceSpec(kind="git", url="../r", commit="0123abc")),
    ],
)
def test_sources_are_read_as_they_are_written(text: str, spec: SourceSpec) -> None:
    assert source_of(text) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("timm", "expected installed:NAME, path:FOLDER, pypi:NAME==VERSION or git:URL@COMMIT, got 'timm'"),
        ("pypi:timm", "version: expected the exact release"),
        ("git:https://h/o/r.git", "url: expected"),
        ("git:git@h:o/r.git", "commit: expected"),
        ("path:", "path: expected a folder"),
    ],
)
def test_what_is_no_source_is_told(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        source_of(text)


def test_a_folder_is_mined_and_the_second_time_remembered(run: Run, tmp_path: Path, small_source: Path) -> None:
    places = [f"--{name}={tmp_path / name}" for name in ("out", "cache", "fetched")]
    status, out, err = run("mine", "--source", f"path:{small_source}", *places)
    assert (status, err) == (0, "")
    found = len(read_bundles(tmp_path / "out" / "bundles.jsonl"))
    assert found >= 8
    assert [line.split() for line in out.splitlines()] == [
        ["SOURCE", "KIND", "VERSION", "LICENCE", "MODULES", "BROKEN", "FILES"],
        ["tiny", "path", str(found), "0"],
    ]
    written = (tmp_path / "out" / "bundles.jsonl").stat().st_mtime_ns
    (row,) = parsed(run, "mine", "--source", f"path:{small_source}", *places)
    assert (row["name"], row["found"]) == ("tiny", found)
    assert (tmp_path / "out" / "bundles.jsonl").stat().st_mtime_ns == written


def test_globs_and_sets_hold(run: Run, tmp_path: Path, small_source: Path) -> None:
    sets = tmp_path / "sets.yaml"
    sets.write_text(f"mine: [{{kind: path, path: {small_source}}}]\n")
    places = [f"--{name}={tmp_path / name}" for name in ("out", "cache", "fetched")]
    assert [r["name"] for r in parsed(run, "mine", "--set", "mine", "--sets", str(sets), *places)] == ["tiny"]
    assert {b.path for b in read_bundles(tmp_path / "out" / "bundles.jsonl")} == {"nets.py"}
    status, _, err = run("mine", "--source", f"path:{small_source}", "--exclude", "nets*", *places)
    assert status == 2 and "expected classes that derive from torch.nn.Module, found none" in err


def test_no_source_is_told(run: Run) -> None:
    status, out, err = run("mine")
    assert (status, out) == (2, "")
    assert err.startswith("llmastool: --source: expected at least one source (installed:NAME,")
