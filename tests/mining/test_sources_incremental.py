"""Only what changed is mined again, and an output that is up to date is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmastool.mining import incremental
from llmastool.mining.incremental import mine, mine_cached, mining_key
from llmastool.mining.mine import Mined, mine_source
from llmastool.mining.sources import SourceSpec
from llmastool.outputs import Stamp, code_digest, place_whole
from tests.mining.archives import MODULE


@pytest.fixture
def specs(tmp_path: Path) -> list[SourceSpec]:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(MODULE)
    return [SourceSpec(kind="path", path=str(tmp_path / name)) for name in ("one", "two")]


@pytest.fixture
def mined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the sources that are really mined."""
    done: list[str] = []

    def spy(spec: SourceSpec) -> Mined:
        done.append(spec.label)
        return mine_source(spec)

    monkeypatch.setattr(incremental, "mine_source", spy)
    return done


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}


def test_only_a_source_that_changed_is_mined_again(specs: list[SourceSpec], mined: list[str], tmp_path: Path) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    rows = mine(specs, out, cache)
    assert [(r["name"], r["found"]) for r in rows] == [("one", 1), ("two", 1)]
    first = contents(out)
    assert mine(specs, out, cache) == rows
    assert (mined, contents(out)) == (["one", "two"], first), "nothing was done the second time"
    (tmp_path / "two" / "more.py").write_text(MODULE)
    assert [r["found"] for r in mine(specs, out, cache)] == [1, 2]
    assert mined == ["one", "two", "two"]


def test_an_output_that_somebody_changed_is_written_again(
    specs: list[SourceSpec], mined: list[str], tmp_path: Path
) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    mine(specs, out, cache)
    whole = (out / "bundles.jsonl").read_bytes()
    (out / "bundles.jsonl").write_bytes(whole[:-10])
    mine(specs, out, cache)
    assert (out / "bundles.jsonl").read_bytes() == whole
    assert mined == ["one", "two"], "from what is remembered"


def test_what_is_remembered_equals_what_was_mined(specs: list[SourceSpec], tmp_path: Path) -> None:
    first = mine_cached(specs[0], tmp_path / "cache")
    assert mine_cached(specs[0], tmp_path / "cache") == first == mine_source(specs[0])


def test_the_key_follows_content_globs_readme_and_name_but_not_dates(tmp_path: Path, specs: list[SourceSpec]) -> None:
    path = specs[0].path
    keys = [mining_key(specs[0])]
    (tmp_path / "one" / "__init__.py").touch()
    assert mining_key(specs[0]) == keys[0]
    keys.append(mining_key(SourceSpec(kind="path", path=path, include=("a/*",))))
    keys.append(mining_key(SourceSpec(kind="path", path=path, exclude=("a/*",))))
    keys.append(mining_key(SourceSpec(kind="path", path=path, name="other")))
    (tmp_path / "one" / "README.md").write_text("x")
    keys.append(mining_key(specs[0]))
    assert len(set(keys)) == len(keys)


def test_code_that_changes_changes_its_digest(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    first = code_digest(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    assert code_digest(tmp_path) == first
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert code_digest(tmp_path) != first


def test_a_folder_is_whole_or_as_it_was(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place_whole(place, lambda folder: (folder / "a").write_text("1"))

    def fail(folder: Path) -> None:
        (folder / "b").write_text("2")
        raise RuntimeError("full")

    with pytest.raises(RuntimeError, match="full"):
        place_whole(place, fail)
    assert [p.name for p in tmp_path.iterdir()] == ["place"] and [p.name for p in place.iterdir()] == ["a"]
    place_whole(place, lambda folder: (folder / "c").write_text("3"))
    assert [p.name for p in place.iterdir()] == ["c"]


def test_a_stamp_holds_for_the_same_inputs_and_output_only(tmp_path: Path) -> None:
    out, notes = tmp_path / "out", tmp_path / "notes"
    assert not Stamp(notes, out, ["a"]).holds()
    out.mkdir()
    (out / "file").write_text("1")
    Stamp(notes, out, ["a"]).set()
    assert Stamp(notes, out, ["a"]).holds()
    assert not Stamp(notes, out, ["b"]).holds()
    assert not Stamp(notes, tmp_path / "other", ["a"]).holds()
    (out / "file").write_text("2")
    assert not Stamp(notes, out, ["a"]).holds()
    next(notes.iterdir()).write_text("torn {")
    assert not Stamp(notes, out, ["a"]).holds()
