"""A commit is fetched and read from the objects: nothing of the repository is checked out, and nothing of it runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from llmastool.canonical import read_json
from llmastool.errors import SourceError
from llmastool.mining.fetch import fetch
from llmastool.mining.mine import mine_source
from llmastool.mining.sources import SourceSpec, read_source
from tests.mining.archives import MODULE


def git(folder: Path, *argv: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false", "-c", "init.defaultBranch=main"]
    return subprocess.run(
        ["git", "-C", str(folder), *who, *argv], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits; the first is tagged, the second adds a module."""
    folder = tmp_path / "blocks"
    (folder / "nets").mkdir(parents=True)
    git(folder, "init", "-q")
    (folder / "README.md").write_text("# Blocks\n")
    (folder / "LICENSE").write_text("Apache License\nVersion 2.0, January 2004\n")
    (folder / "nets" / "__init__.py").write_text("")
    (folder / "nets" / "a.py").write_text(MODULE)
    commit(folder, "one")
    git(folder, "tag", "v1")
    (folder / "nets" / "b.py").write_text(MODULE.replace("class A", "class B"))
    commit(folder, "two")
    return folder


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def spec_of(repository: Path, revision: str) -> SourceSpec:
    return SourceSpec(kind="git", url=str(repository), commit=revision)


def names(spec: SourceSpec) -> list[str]:
    return [b.name for b in mine_source(spec).bundles]


def test_a_tag_a_branch_and_a_hash_are_resolved_to_the_full_hash(repository: Path, tmp_path: Path) -> None:
    first, second = git(repository, "rev-parse", "v1"), git(repository, "rev-parse", "HEAD")
    for revision, expected in (("v1", first), (first, first), (first[:9], first), ("main", second), (second, second)):
        spec = fetch(spec_of(repository, revision), tmp_path / "fetched")
        assert read_source(spec).pin.version == expected, revision
        assert names(spec) == (["nets.a.A"] if expected == first else ["nets.a.A", "nets.b.B"])


def test_licence_readme_and_origin_are_recorded(repository: Path, tmp_path: Path) -> None:
    spec = fetch(spec_of(repository, "v1"), tmp_path / "fetched")
    tree = read_source(spec)
    assert (tree.pin.kind, tree.pin.name, tree.pin.licence) == ("git", "blocks", "Apache-2.0")
    assert tree.texts == (("README.md", "# Blocks\n"),)
    assert read_json(Path(spec.path) / "source.json")["asked"] == "v1"


def test_what_was_fetched_stays_when_the_branch_moves_and_the_repository_goes(repository: Path, tmp_path: Path) -> None:
    first = fetch(spec_of(repository, "main"), tmp_path / "fetched")
    repository.rename(tmp_path / "moved")
    assert fetch(spec_of(repository, "main"), tmp_path / "fetched") == first
    assert names(first) == ["nets.a.A", "nets.b.B"]


def test_what_is_not_committed_is_not_read(repository: Path, tmp_path: Path) -> None:
    (repository / "nets" / "c.py").write_text(MODULE)
    assert "nets.c" not in [f.module for f in read_source(fetch(spec_of(repository, "main"), tmp_path / "f")).files]


def test_filters_hooks_links_and_submodules_do_nothing(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {ran}\ncat\n")
    script.chmod(0o755)
    (repository / ".gitattributes").write_text("*.py filter=evil\n")
    (repository / ".gitmodules").write_text(f'[submodule "s"]\n\tpath = s\n\turl = ext::sh -c "touch {ran}"\n')
    (repository / "nets" / "link.py").symlink_to("/etc/passwd")
    head = git(repository, "rev-parse", "HEAD")
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{head},s")
    git(repository, "add", "nets/link.py", ".gitattributes", ".gitmodules")
    git(repository, "commit", "-q", "-m", "evil")
    # The user's own settings have the filter and hooks, as they would for Git LFS.
    settings = tmp_path / "gitconfig"
    settings.write_text(
        f'[filter "evil"]\n\tsmudge = {script}\n\tclean = {script}\n[core]\n\thooksPath = {tmp_path / "hooks"}\n'
        "[fetch]\n\trecurseSubmodules = true\n"
    )
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for hook in ("post-checkout", "reference-transaction", "post-merge"):
        (hooks / hook).symlink_to(script)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    tree = read_source(fetch(spec_of(repository, "main"), tmp_path / "fetched"))
    assert [f.path for f in tree.files] == ["nets/__init__.py", "nets/a.py", "nets/b.py"]
    assert not ran.exists()
    git(tmp_path, "clone", "-q", str(repository), "checked-out")
    assert ran.exists(), "the trap is a real one: a checkout springs it"


def test_an_outer_git_does_not_lend_its_repository(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    before = sorted(p for p in outer.rglob("*"))
    monkeypatch.setenv("GIT_DIR", str(outer / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(outer))
    fetch(spec_of(repository, "v1"), tmp_path / "fetched")
    assert sorted(p for p in outer.rglob("*")) == before


@pytest.mark.parametrize(
    ("url", "revision", "message"),
    [
        ("{here}", "nope", "expected commit 'nope' of .*; git says: fatal: couldn't find remote ref nope"),
        ("{here}", "0123456789", "expected commit '0123456789'"),
        ("{here}/nowhere", "main", "git says: fatal: .*does not appear to be a git repository"),
        ("https://user:hunter2@127.0.0.1:1/x.git", "main", "expected commit 'main' of https://127.0.0.1:1/x.git"),
    ],
)
def test_what_cannot_be_fetched_says_why_and_leaves_nothing(
    url: str, revision: str, message: str, repository: Path, tmp_path: Path
) -> None:
    spec = SourceSpec(kind="git", url=url.format(here=repository), commit=revision, name="blocks")
    with pytest.raises(SourceError, match=message) as caught:
        fetch(spec, tmp_path / "fetched")
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "fetched").exists()


def test_without_git_the_cure_is_named(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    with pytest.raises(SourceError, match="expected git on this machine, found none; install it, or use kind: path"):
        fetch(spec_of(repository, "v1"), tmp_path / "fetched")


def test_a_repository_that_is_a_package_has_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "blocks"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "__init__.py").write_text(MODULE)
    commit(folder, "one")
    assert names(fetch(spec_of(folder, "HEAD"), tmp_path / "fetched")) == ["blocks.A"]
