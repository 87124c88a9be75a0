"""Sources on this machine, and what a source may be called."""

from __future__ import annotations

import email
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmastool.errors import ConfigError, SourceError
from llmastool.mining import folders
from llmastool.mining.licences import LICENCE_FILE, licence_of, licence_of_texts
from llmastool.mining.sets import all_sources, read_set
from llmastool.mining.sources import MiningConfig, SourceSpec, SourceTree, read_source

ROOT = Path(__file__).resolve().parents[2]
MIT = "MIT License\n\nPermission is hereby granted, free of charge, to any person ... without restriction, including"


def read(folder: Path, **fields: Any) -> SourceTree:
    return read_source(SourceSpec(kind="path", path=str(folder), **fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "pypi", "name": "timm"}, "version: expected the exact release"),
        ({"kind": "pypi", "name": "timm @ https://x", "version": "1"}, "name: expected the name of a distribution"),
        ({"kind": "pypi", "name": "--index-url=x", "version": "1"}, "name: expected the name of a distribution"),
        ({"kind": "pypi", "name": "timm", "version": "1; rm"}, "version: expected the exact release"),
        ({"kind": "pypi", "name": "timm", "version": "1", "url": "x"}, "url: expected nothing for kind: pypi"),
        ({"kind": "git", "url": "https://host/x.git"}, "commit: expected a hash, tag or branch"),
        ({"kind": "git", "url": "--upload-pack=touch x", "commit": "main"}, "url: expected a https"),
        ({"kind": "git", "url": "ext::sh -c id", "commit": "main"}, "url: expected a https"),
        ({"kind": "git", "url": "ftp://host/x", "commit": "main"}, "url: expected a https"),
        ({"kind": "git", "url": "https://host/x.git", "commit": "--exec=id"}, "commit: expected a hash"),
        ({"kind": "git", "url": "https://host/x.git", "commit": "a:b"}, "commit: expected a hash"),
        ({"kind": "path", "path": "x", "commit": "main"}, "commit: expected nothing for kind: path"),
        ({"kind": "installed", "name": "x", "version": "1"}, "version: expected nothing for kind: installed"),
    ],
)
def test_what_is_no_source_is_refused_at_once(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SourceSpec(**fields)


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("https://host/owner/blocks.git", "blocks"),
        ("git@host:blocks.git", "blocks"),
        ("ssh://git@host/owner/blocks/", "blocks"),
        ("../blocks", "blocks"),
    ],
)
def test_a_repository_is_named_by_the_end_of_its_url(url: str, label: str) -> None:
    assert SourceSpec(kind="git", url=url, commit="main").label == label


def test_the_readme_and_the_licence_of_a_folder_are_read(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Nets\n")
    (tmp_path / "LICENSE").write_text(MIT)
    package = tmp_path / "src" / "nets"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("x = 1\n")
    (tmp_path / "setup.py").write_text("raise SystemExit('never run')\n")
    tree = read(tmp_path)
    assert [(f.module, f.path) for f in tree.files] == [("nets", "nets/__init__.py")]
    assert (tree.pin.licence, tree.texts) == ("MIT", (("README.md", "# Nets\n"),))


def test_a_src_folder_without_python_is_not_the_source(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "kernel.cu").write_text("")
    (tmp_path / "net.py").write_text("x = 1\n")
    assert [f.module for f in read(tmp_path).files] == ["net"]


def test_a_package_takes_the_readme_beside_it(tmp_path: Path) -> None:
    (tmp_path / "README.rst").write_text("Nets\n====\n")
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "__init__.py").write_text("")
    tree = read(tmp_path / "nets")
    assert tree.texts == (("README.rst", "Nets\n====\n"),)
    assert [f.module for f in tree.files] == ["nets"]


def test_links_neither_loop_nor_lead_out_of_the_source(tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("key = 'hunter2'\n")
    root = tmp_path / "source"
    root.mkdir()
    (root / "a.py").write_text("x = 1\n")
    (root / "loop").symlink_to(root)
    (root / "out.py").symlink_to(tmp_path / "secret.py")
    (root / "within.py").symlink_to(root / "a.py")
    (root / "nowhere.py").symlink_to(root / "missing.py")
    tree = read(root)
    assert [f.path for f in tree.files] == ["a.py", "within.py"]
    assert tree.unread == ("out.py",)


def test_files_that_cannot_be_read_are_told_and_stop_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "LARGEST_FILE", 100)
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "large.py").write_text("x = 1\n" * 100)
    (tmp_path / "folder.py").mkdir()
    Path(os.fsdecode(bytes(tmp_path) + b"/bad\xff.py")).write_text("x = 2\n")
    (tmp_path / "größe.py").write_text("x = 3\n")
    tree = read(tmp_path)
    assert [f.path for f in tree.files] == ["a.py", "bad\ufffd.py", "größe.py"]
    assert tree.unread == ("large.py",)


def test_the_pin_follows_the_content(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    first = read(tmp_path).pin.digest
    (tmp_path / "a.py").touch()
    assert read(tmp_path).pin.digest == first
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert read(tmp_path).pin.digest != first


def test_an_installed_package_has_version_licence_and_description() -> None:
    tree = read_source(SourceSpec(name="jinja2"))
    assert tree.pin.version and "BSD" in tree.pin.licence
    assert [name for name, _ in tree.texts] == ["METADATA"] and "Jinja" in tree.texts[0][1]


@pytest.mark.parametrize(
    "form", ["Name: x\n\n# A\n    code\n", "Name: x\nDescription: # A\n            code\n        more\n"]
)
def test_the_description_is_found_in_the_new_and_the_old_form(form: str) -> None:
    ((name, text),) = folders.description(email.message_from_string(form))
    assert name == "METADATA" and text.splitlines()[:2] == ["# A", "    code"]
    assert folders.description(email.message_from_string("Name: x\n\n")) == ()


def test_a_package_within_a_package_is_found_without_an_import() -> None:
    code = (
        "import sys\nfrom llmastool.mining.sources import SourceSpec, read_source\n"
        "tree = read_source(SourceSpec(name='torchvision.models'))\n"
        "assert tree.files[0].module == 'torchvision.models', tree.files[0]\n"
        "assert not {'torch', 'torchvision'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        (MIT, "MIT"),
        ("Apache License\nVersion 2.0, January 2004", "Apache-2.0"),
        ("GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007", "GPL-3.0"),
        ("GNU GENERAL PUBLIC LICENSE\nVersion 2, June 1991", "GPL-2.0"),
        ("GNU LESSER GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007 ... GNU General Public License", "LGPL-3.0"),
        ("Mozilla Public License Version 2.0", "MPL-2.0"),
        ("Redistribution and use in source and binary forms ... Neither the name of", "BSD-3-Clause"),
        ("Redistribution and use in source and binary forms ... this list of conditions", "BSD-2-Clause"),
        ("All rights reserved.", ""),
    ],
)
def test_common_licences_are_told_by_their_text(text: str, licence: str) -> None:
    assert licence_of_texts([text]) == licence


def test_licences_of_two_files_add_up() -> None:
    assert licence_of_texts([MIT, MIT, "Apache License Version 2.0"]) == "Apache-2.0 AND MIT"


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        ("License: Apache License 2.0", "Apache-2.0"),
        ("License: BSD", "MIT"),  # which BSD is not said; the file of the licence is exact
        ("Classifier: License :: OSI Approved :: MIT License", "MIT"),
        ("Name: x", "MIT"),
    ],
)
def test_metadata_come_first_where_they_are_exact(metadata: str, licence: str) -> None:
    assert licence_of(email.message_from_string(metadata + "\n\n"), [MIT]) == licence


def test_only_licence_files_are_taken_for_them() -> None:
    named = ["LICENSE", "LICENCE.txt", "COPYING", "license-MIT", "UNLICENSE", "licenses.py", "license.py", "licensed"]
    assert [bool(LICENCE_FILE.fullmatch(n)) for n in named] == [True] * 5 + [False] * 3


def test_a_set_is_mined_as_well_as_what_is_named(tmp_path: Path) -> None:
    sets = tmp_path / "sets.yaml"
    sets.write_text("few:\n  - {kind: pypi, name: timm, version: 1.0.31}\n")
    named = (SourceSpec(name="torchvision"),)
    config = MiningConfig(sources=named, set="few", sets=str(sets))
    assert [s.label for s in all_sources(config)] == ["torchvision", "timm"]
    assert all_sources(MiningConfig(sources=named)) == named
    with pytest.raises(ConfigError, match="a different name for each"):
        all_sources(MiningConfig(sources=(SourceSpec(name="timm"),), set="few", sets=str(sets)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; mining.sets names the file"),
        ("- a\n", "expected lists of sources by name, got list"),
        ("larg: []\n", "expected a set 'large'; did you mean 'larg'?"),
        ("other: []\n", "expected a set 'large'; its sets are: other"),
        ("large: [{kind: pypi, name: timm}]\n", r"large.sources\[0\].*version: expected the exact release"),
        ("large: []\nlarge: []\n", "the key 'large' is given twice"),
        ("large: [\n", "expected YAML"),
    ],
)
def test_a_bad_file_of_sets_says_what_was_expected(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "sets.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_set(tmp_path / "sets.yaml", "large")


def test_the_large_set_pins_what_it_names() -> None:
    large = read_set(ROOT / "sources.yaml", "large")
    assert {s.label for s in large} >= {"timm", "vit-pytorch", "kornia", "monai", "ultralytics"}
    assert all(s.kind == "pypi" and s.version for s in large)


def test_what_was_not_fetched_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="expected it to be fetched"):
        read_source(SourceSpec(kind="pypi", name="timm", version="1.0.31"))
    with pytest.raises(SourceError, match="expected it to be fetched"):
        read_source(SourceSpec(kind="pypi", name="timm", version="1.0.31", path=str(tmp_path)))
