"""What the sandbox shows and says. What hostile code makes of it is in `test_hostile.py`."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from llmastool import sandbox
from llmastool.errors import SandboxError


def test_without_namespaces_work_stops_unless_the_weak_sandbox_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_bubblewrap", lambda: "/bin/false")
    monkeypatch.delenv(sandbox.ALLOW_WEAK, raising=False)
    sandbox.isolation_works.cache_clear()
    try:
        with pytest.raises(SandboxError, match="needs user namespaces"):
            sandbox.command(["true"])
        monkeypatch.setenv(sandbox.ALLOW_WEAK, "1")
        with pytest.warns(UserWarning, match="THE SANDBOX IS WEAK"):
            assert sandbox.command(["true"]) == ["true"]
    finally:
        sandbox.isolation_works.cache_clear()


LISTS = """
import os, sys
for folder in sys.argv[1:]:
    print(*sorted(os.listdir(folder)))
open(folder + "/written", "w")
"""


def test_the_working_folder_and_the_repository_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """They hold images, test images among them, runs and databases."""
    root = Path(sandbox.__file__).resolve().parent.parent
    monkeypatch.chdir("/var/log")
    argv = sandbox.command([sys.executable, "-c", LISTS, str(root), "/var/log"])
    done = subprocess.run(argv, env=sandbox.environment(), capture_output=True, text=True, check=False)
    repository, working = done.stdout.splitlines()
    assert "llmastool" in repository.split() and not {"assets", "params.yaml", "tests", ".git"} & {*repository.split()}
    assert working == "" and "Read-only file system" in done.stderr


def test_a_working_folder_that_was_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SandboxError, match=r"expected a working folder, found that it was removed"):
        sandbox.command([sys.executable, "-c", ""])


@pytest.mark.parametrize("seen", [True, False])
def test_a_python_that_is_reached_by_a_link_runs(seen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual environment may be a link to a link, the first in a folder that the sandbox hides or shows."""
    (tmp_path / "shown").mkdir()
    (tmp_path / "hidden").mkdir()
    link, further = tmp_path / "shown" / "linked", tmp_path / "hidden" / "linked"
    further.symlink_to(Path(sys.prefix).resolve(), target_is_directory=True)
    link.symlink_to(Path("..") / "hidden" / "linked", target_is_directory=True)
    monkeypatch.setattr(sys, "prefix", str(link))
    program = [str(link / "bin" / "python"), "-c", "import torch; print(torch.__version__)"]
    argv = sandbox.command(program, readable=[tmp_path / "shown"] if seen else [])
    done = subprocess.run(argv, env=sandbox.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout == f"{torch.__version__}\n", done.stderr
