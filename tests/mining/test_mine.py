"""Mining a source that does what makes slicing hard, and torchvision."""

from pathlib import Path

import pytest
import torch

from llmastool.errors import ConfigError, SourceError
from llmastool.mining.bundle import Bundle, read_bundles
from llmastool.mining.mine import mine_source, write
from llmastool.mining.sources import MiningConfig, SourceSpec
from llmastool.registry.loading import load_bundle


@pytest.fixture(scope="module")
def bundles(source_root: Path) -> dict[str, Bundle]:
    mined = mine_source(SourceSpec(kind="path", path=str(source_root)))
    assert set(mined.broken_files) == {"broken.py", "old.py"}
    return {b.name: b for b in mined.bundles}


def test_finds_classes_through_aliases_chains_and_files(bundles: dict[str, Bundle]) -> None:
    names = {name.removeprefix("net.") for name in bundles}
    assert {"blocks.Block", "blocks.Wide", "late.Late", "late.Outer.Inner", "alias.Aliased", "exports.Star"} <= names
    assert not {"blocks.NotAModule", "cycle.A", "heavy.Heavy"} & names


def test_a_slice_holds_what_is_needed_and_no_more(bundles: dict[str, Bundle]) -> None:
    files = {f.name: f.text for f in bundles["net.blocks.Block"].files}
    assert "UNUSED" not in files["net.blocks"], "an import is narrowed to the names in use"
    assert "unrelated" not in files["net.blocks"]
    assert "def big" not in files["net.helpers"]
    assert "_inner" in files["net.helpers"]
    assert "from __future__ import annotations" in files["net.blocks"]
    assert "except ImportError" in files["net.blocks"], "guards survive"
    assert "net.heavy" not in files, "type-only imports are not followed"
    assert "TABLE" not in files["net.blocks"]
    assert 'TABLE["wide"]' in {f.name: f.text for f in bundles["net.blocks.Wide"].files}["net.blocks"]


@pytest.mark.parametrize("name", ["net.blocks.Block", "net.blocks.Wide", "net.late.Late", "net.exports.Star"])
def test_a_slice_loads_and_runs_alone(bundles: dict[str, Bundle], name: str) -> None:
    net = load_bundle(bundles[name])(8)
    out = net(torch.ones(2, 8))
    assert out.shape == (2, 8)
    assert torch.isfinite(out).all()


def test_nested_classes_load_by_their_path(bundles: dict[str, Bundle]) -> None:
    assert load_bundle(bundles["net.late.Outer.Inner"])()(torch.ones(1)).item() == 1


def test_a_missing_file_raises_import_error_as_it_would_have(bundles: dict[str, Bundle]) -> None:
    cls = load_bundle(bundles["net.blocks.Block"])
    assert cls.forward.__globals__["kernel"] is None


def test_call_sites_carry_literal_values_and_references(bundles: dict[str, Bundle]) -> None:
    (first, second) = bundles["net.blocks.Block"].calls
    assert first.args == ({"value": 8}, {"value": 1.5})
    assert first.kwargs == {"act": {"value": {"$ref": "torch.nn.GELU"}}}
    assert second.kwargs == {"dim": {"expr": "some()"}}
    assert bundles["net.late.Late"].calls[0].args == ({"value": 16},)


def test_signature_docstring_and_lines(bundles: dict[str, Bundle]) -> None:
    block = bundles["net.blocks.Block"]
    assert [(p.name, p.kind, p.default) for p in block.signature] == [
        ("dim", "positional", None),
        ("ratio", "positional", "2.0"),
        ("act", "keyword", "nn.ReLU"),
        ("heavy", "keyword", "None"),
        ("kwargs", "var_keyword", None),
    ]
    assert block.signature[0].annotation == "int"
    assert block.docstring == "A block.\n\nWith two lines."
    assert [p.name for p in block.forward] == ["x"]
    assert [p.name for p in bundles["net.late.Late"].signature] == ["dim"], "inherited"
    assert block.has_forward


def test_ids_are_stable_and_depend_on_the_slice_alone(source_root: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "net"
    shutil.copytree(source_root, copy, symlinks=True)
    spec = SourceSpec(kind="path", path=str(copy))
    before = {b.name: b.id for b in mine_source(spec).bundles}
    assert before == {b.name: b.id for b in mine_source(SourceSpec(kind="path", path=str(source_root))).bundles}
    (copy / "helpers.py").write_text((copy / "helpers.py").read_text().replace("abs(x) + 1", "abs(x) + 2"))
    after = {b.name: b.id for b in mine_source(spec).bundles}
    changed = {name for name in before if before[name] != after[name]}
    assert "net.blocks.Block" in changed
    assert "net.alias.Aliased" not in changed


def test_written_bundles_read_back_equal(bundles: dict[str, Bundle], source_root: Path, tmp_path: Path) -> None:
    write([mine_source(SourceSpec(kind="path", path=str(source_root)))], tmp_path)
    assert {b.id: b for b in read_bundles(tmp_path / "bundles.jsonl")} == {b.id: b for b in bundles.values()}


def test_globs_choose_what_is_mined_but_slices_reach_beyond(source_root: Path) -> None:
    spec = SourceSpec(kind="path", path=str(source_root), include=("late.py",))
    mined = mine_source(spec)
    assert {b.name for b in mined.bundles} == {"net.late.Late", "net.late.Outer.Inner"}
    assert any(f.name == "net.blocks" for b in mined.bundles for f in b.files)


def test_torchvision_is_mined_whole_without_being_imported() -> None:
    import subprocess
    import sys

    code = (
        "import sys\n"
        "from llmastool.mining.mine import mine_source\n"
        "from llmastool.mining.sources import SourceSpec\n"
        "mined = mine_source(SourceSpec(name='torchvision'))\n"
        "print(len(mined.bundles), mined.pin.version, mined.pin.licence, mined.broken_files)\n"
        "assert not {'torch', 'torchvision'} & set(sys.modules), 'mining imported what it mined'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    count, version, licence, broken = done.stdout.strip().split(maxsplit=3)
    assert int(count) >= 280
    assert version and licence and broken == "()"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "no_such_package"}, "expected an installed package, found none"),
        ({"kind": "path", "path": "/no/such/folder"}, "expected a folder, found nothing"),
        ({"name": "yaml"}, "expected classes that derive from torch.nn.Module, found none"),
        ({"name": "six_of_one.two"}, "expected an installed package"),
    ],
)
def test_bad_sources_say_what_was_expected(spec: dict[str, str], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        mine_source(SourceSpec(**spec))  # type: ignore[arg-type]


def test_an_empty_folder_has_no_python_files(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="expected Python files"):
        mine_source(SourceSpec(kind="path", path=str(tmp_path)))


def test_sources_need_names_and_differ() -> None:
    with pytest.raises(ConfigError, match="the import name of a package"):
        SourceSpec()
    with pytest.raises(ConfigError, match="a different name for each"):
        MiningConfig(sources=(SourceSpec(name="a"), SourceSpec(name="a")))
