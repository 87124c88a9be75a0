"""Releases are fetched with pip, from a folder that stands for the index, and no code of theirs runs."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from llmastool.canonical import read_json
from llmastool.errors import SourceError
from llmastool.mining import archives
from llmastool.mining.archives import packages_of, read_archive
from llmastool.mining.fetch import fetch, fetch_all, located
from llmastool.mining.mine import mine_source
from llmastool.mining.sources import SourceSpec, read_source
from tests.mining.archives import MODULE, index, sdist, wheel

__all__ = ["index"]

SPEC = SourceSpec(kind="pypi", name="my-blocks", version="1.0", include=("nets/*",))


def test_a_wheel_is_fetched_read_and_mined(index: Path, tmp_path: Path) -> None:
    wheel(
        index, {"my_blocks/__init__.py": "", "my_blocks/nets/a.py": MODULE, "my_blocks/data.bin": "x", "tests/t.py": ""}
    )
    spec = fetch(SPEC, tmp_path / "fetched")
    tree = read_source(spec)
    assert [(f.module, f.path) for f in tree.files] == [("my_blocks", "__init__.py"), ("my_blocks.nets.a", "nets/a.py")]
    assert (tree.pin.kind, tree.pin.name, tree.pin.version, tree.pin.licence) == ("pypi", "my-blocks", "1.0", "MIT")
    assert tree.texts == (("METADATA", "# Blocks\nHow to use them.\n"),)
    assert [b.name for b in mine_source(spec).bundles] == ["my_blocks.nets.a.A"]
    record = read_json(Path(spec.path) / "source.json")
    assert record["origin"] == "my_blocks-1.0-py3-none-any.whl" and len(record["sha256"]) == 64


def test_what_was_fetched_once_needs_no_index_any_more(index: Path, tmp_path: Path) -> None:
    archive = wheel(index, {"my_blocks/__init__.py": MODULE})
    first = fetch(SPEC, tmp_path / "fetched")
    archive.unlink()
    assert fetch(SPEC, tmp_path / "fetched") == first
    assert located(SPEC, tmp_path / "fetched") == first
    with pytest.raises(SourceError, match=r"expected it under .*dvc repro fetch"):
        located(SPEC, tmp_path / "elsewhere")


def test_a_source_distribution_is_read_and_its_setup_never_runs(index: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    setup = f"open({str(ran)!r}, 'w')\nfrom setuptools import setup\nsetup(name='my-blocks', version='1.0')\n"
    sdist(
        index,
        {"setup.py": setup, "src/my_blocks/a.py": MODULE, "src/my_blocks/__init__.py": "", "tests/__init__.py": ""},
    )
    tree = read_source(fetch(SPEC, tmp_path / "fetched"))
    assert [f.module for f in tree.files] == ["my_blocks", "my_blocks.a"]
    assert not ran.exists()


def test_the_wheel_is_preferred(index: Path, tmp_path: Path) -> None:
    wheel(index, {"my_blocks/__init__.py": "", "my_blocks/of_the_wheel.py": MODULE})
    sdist(index, {"my_blocks/__init__.py": ""})
    assert "my_blocks.of_the_wheel" in [f.module for f in read_source(fetch(SPEC, tmp_path / "fetched")).files]


def test_a_release_that_is_not_there_is_told_with_those_that_are(index: Path, tmp_path: Path) -> None:
    wheel(index, {"my_blocks/__init__.py": ""}, version="2.0")
    with pytest.raises(SourceError, match=r"expected release 1.0 of my-blocks .* its releases are: 2.0"):
        fetch(SPEC, tmp_path / "fetched")
    with pytest.raises(SourceError, match="the index has none of it"):
        fetch(SourceSpec(kind="pypi", name="no-such-blocks", version="1"), tmp_path / "fetched")
    assert not list((tmp_path / "fetched").glob("*")), "nothing half done is left"


def test_a_wheel_without_python_is_told(index: Path, tmp_path: Path) -> None:
    wheel(index, {"my_blocks/data.bin": "x"})
    with pytest.raises(SourceError, match=r"expected a Python package in my_blocks-1.0-py3-none-any.whl, found none"):
        fetch(SPEC, tmp_path / "fetched")


@pytest.mark.parametrize("name", ["../evil.py", "/tmp/evil.py", "my_blocks/../../evil.py", "my_blocks\\..\\evil.py"])
def test_paths_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    # Read directly: pip would refuse some of these before we see them.
    with pytest.raises(SourceError, match="expected paths within the source"):
        read_archive(wheel(tmp_path, {"my_blocks/__init__.py": "", name: "x = 1\n"}), "evil")


def test_links_of_a_source_distribution_are_passed_over(tmp_path: Path) -> None:
    path = sdist(tmp_path, {"my_blocks/__init__.py": ""}, links={"my_blocks/secret.py": "/etc/passwd"})
    assert set(read_archive(path, "x")) == {"PKG-INFO", "my_blocks/__init__.py"}


def test_what_is_too_large_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives.check_total, "__defaults__", (100_000,))
    bomb = wheel(tmp_path, {f"my_blocks/{i}.py": "#" * 60_000 for i in range(2)})
    assert bomb.stat().st_size < 5_000
    with pytest.raises(SourceError, match="expected at most 0 MiB of texts, found more"):
        read_archive(bomb, "x")


@pytest.mark.parametrize("name", ["my_blocks-1.0-py3-none-any.whl", "my-blocks-1.0.tar.gz"])
@pytest.mark.parametrize("keep", [0, 20, 200])
def test_a_broken_archive_is_told(name: str, keep: int, tmp_path: Path) -> None:
    whole = (wheel if name.endswith("whl") else sdist)(tmp_path, {"my_blocks/__init__.py": MODULE})
    whole.write_bytes(whole.read_bytes()[:keep])
    with pytest.raises(SourceError, match=f"{name} is broken"):
        read_archive(whole, "x")


def test_a_file_that_is_a_folder_too_is_told(index: Path, tmp_path: Path) -> None:
    wheel(index, {"my_blocks/__init__.py": "", "my_blocks/a.py": "", "my_blocks/a.py/b.py": ""})
    with pytest.raises(SourceError, match="expected files that fit on a disk"):
        fetch(SPEC, tmp_path / "fetched")


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"a/__init__.py": b"", "x.dist-info/top_level.txt": b"a\n"}, ("", ["a"])),
        ({"a/__init__.py": b"", "tests/__init__.py": b""}, ("", ["a"])),
        ({"a.py": b"", "setup.py": b""}, ("", ["a"])),
        ({"src/a/__init__.py": b"", "docs/conf.py": b"", "x/top_level.txt": b"a\nb\n"}, ("src/", ["a"])),
        (
            {"a/__init__.py": b"", "b/c.py": b"", "x/top_level.txt": b"a\nb\ntests\n", "tests/t.py": b""},
            ("", ["a", "b"]),
        ),
        ({"tests/__init__.py": b""}, ("", ["tests"])),
    ],
)
def test_import_packages_are_told_apart_from_what_lies_beside(members: dict[str, bytes], expected: object) -> None:
    assert packages_of(members) == expected


def test_files_of_a_data_folder_are_where_they_would_be_installed(tmp_path: Path) -> None:
    files = {"my_blocks-1.0.data/purelib/my_blocks/a.py": "", "my_blocks-1.0.data/scripts/run.py": ""}
    assert [n for n in read_archive(wheel(tmp_path, files), "x") if n.endswith(".py")] == ["my_blocks/a.py"]


def test_an_encrypted_member_is_passed_over(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"my_blocks/a.py": "x = 1\n"})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1  # the flag of the central directory's first entry
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        assert archive.infolist()[0].flag_bits & 1
    assert "my_blocks/a.py" not in read_archive(path, "x")


def test_a_folder_holds_exactly_what_is_asked_for(index: Path, tmp_path: Path) -> None:
    for version in ("1.0", "2.0"):
        wheel(index, {"my_blocks/__init__.py": MODULE}, version=version)
    other = SourceSpec(kind="pypi", name="my-blocks", version="2.0")
    cache, out = tmp_path / "cache", tmp_path / "out"
    assert [r["version"] for r in fetch_all([SPEC], cache, out)] == ["1.0"]
    fetch_all([other, SourceSpec(name="jinja2")], cache, out)
    assert [r["version"] for r in read_json(out / "sources.json")["sources"]] == ["2.0"]
    assert len(list(cache.iterdir())) == 2 and len([p for p in out.iterdir() if p.is_dir()]) == 1
    assert read_source(located(other, out)).pin.version == "2.0"
    assert fetch_all([], cache, out) == [] and [p.name for p in out.iterdir()] == ["sources.json"]


def test_what_was_changed_after_fetching_is_not_taken_for_the_release(index: Path, tmp_path: Path) -> None:
    wheel(index, {"my_blocks/__init__.py": MODULE})
    spec = fetch(SPEC, tmp_path / "cache")
    (Path(spec.path) / "files" / "my_blocks" / "more.py").write_text("x = 1\n")
    with pytest.raises(
        SourceError, match=r"expected the files that were fetched .* delete that folder and fetch again"
    ):
        read_source(spec)
    with pytest.raises(SourceError, match="delete that folder"):
        fetch_all([SPEC], tmp_path / "cache", tmp_path / "out")
    (Path(spec.path) / "source.json").write_text("{}")
    with pytest.raises(SourceError, match="expected the record of a fetched source"):
        read_source(spec)
