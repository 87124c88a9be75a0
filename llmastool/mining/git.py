"""Fetch a repository at a commit with git, and read its files from the objects. Nothing is checked out.

Without a checkout, no hook, no submodule and no filter of the repository's attributes (Git LFS, or worse) ever runs.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path, PurePosixPath

from llmastool.addresses import without_credentials
from llmastool.errors import SourceError
from llmastool.mining.archives import check_total, checked, is_kept, readmes_of
from llmastool.mining.fetch import Fetched
from llmastool.mining.folders import LARGEST_FILE
from llmastool.mining.licences import LICENCE_FILE, licence_of_texts
from llmastool.mining.sources import SourceSpec

_SECONDS = 900
"""Longest that git may take for one command."""

_REGULAR = (b"100644", b"100755", b"100664")

_ELSEWHERE = (
    "DIR",
    "WORK_TREE",
    "INDEX_FILE",
    "OBJECT_DIRECTORY",
    "ALTERNATE_OBJECT_DIRECTORIES",
    "COMMON_DIR",
    "NAMESPACE",
)
"""Variables with which an outer git, in a hook for instance, names its own repository."""


def fetch_commit(spec: SourceSpec) -> Fetched:
    """Fetch one commit of a repository.

    Raises:
        SourceError: git is missing, or there is no such repository or commit.
    """
    with tempfile.TemporaryDirectory() as name:
        git = _Git(Path(name), spec)
        commit = git.fetch()
        members = git.files(commit)
    files = {path: content for path, content in members.items() if path.endswith(".py")}
    licences = [c.decode("utf-8", "replace") for n, c in members.items() if LICENCE_FILE.fullmatch(n)]
    root, prefix = _layout(files, spec.label)
    return Fetched(
        files=files,
        root=root,
        prefix=prefix,
        version=commit,
        origin=without_credentials(spec.url),
        licence=licence_of_texts(licences),
        texts=readmes_of(members),
    )


def _layout(files: dict[str, bytes], label: str) -> tuple[str, tuple[str, ...]]:
    """Return what `llmastool.mining.folders.layout_of` says of a folder, for files that are not on disk."""
    if "__init__.py" in files:
        return "", (label,)
    parts = [PurePosixPath(path).parts for path in files]
    source = any(p[0] == "src" and (len(p) == 2 or (len(p) == 3 and p[2] == "__init__.py")) for p in parts)
    return ("src", ()) if source else ("", ())


class _Git:
    """An empty repository, into which one commit is fetched."""

    def __init__(self, folder: Path, spec: SourceSpec) -> None:
        self.spec, self.folder = spec, folder
        local = "://" not in spec.url and Path(spec.url).expanduser().is_dir()
        self.url = str(Path(spec.url).expanduser().resolve()) if local else spec.url
        self._run("init", "--quiet", "--bare", "--template=", str(folder))

    def fetch(self) -> str:
        """Fetch the commit and return its full hash."""
        wanted = self.spec.commit
        try:
            self._run(*_FETCH, "--depth=1", "--", self.url, wanted)
            return self._resolve("FETCH_HEAD")
        except SourceError:
            # An abbreviated hash cannot be asked for, and some servers give out only what a branch or tag names.
            if not re.fullmatch(r"[0-9a-f]{4,64}", wanted):
                raise
        self._run(*_FETCH, "--", self.url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        return self._resolve(wanted)

    def files(self, commit: str) -> dict[str, bytes]:
        """Return what is kept of a commit's files, by path. Links and submodules are passed over."""
        listed = self._run("ls-tree", "-r", "-l", "-z", "--full-tree", commit).split(b"\0")
        wanted, total = [], 0
        for line in filter(None, listed):
            about, _, raw = line.partition(b"\t")
            mode, _, blob, size = about.split()
            path = checked(raw.decode("utf-8", "replace"), self.spec.label)
            if mode in _REGULAR and is_kept(path) and int(size) <= LARGEST_FILE:
                check_total(total := total + int(size), self.spec.label)
                wanted.append((path.as_posix(), blob))
        contents = self._run("cat-file", "--batch", stdin=b"".join(blob + b"\n" for _, blob in wanted))
        found, start = {}, 0
        for name, _ in wanted:
            # `<hash> blob <size>`, a new line, that many bytes, a new line.
            end = contents.index(b"\n", start)
            start = end + 1 + int(contents[start:end].split()[-1]) + 1
            found[name] = contents[end + 1 : start - 1]
        return found

    def _resolve(self, name: str) -> str:
        return (
            self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").decode().split()[-1]
        )

    def _run(self, *argv: str, stdin: bytes = b"") -> bytes:
        environment = {k: v for k, v in os.environ.items() if k.removeprefix("GIT_") not in _ELSEWHERE}
        # git must never ask: nobody may be there. The list of protocols leaves out `ext`, which runs commands.
        environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh", "LC_ALL": "C"}
        environment.setdefault("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
        settings = ["-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never", "-c", "core.fsmonitor=false"]
        command = ["git", *settings, "--git-dir", str(self.folder), *argv]
        where = f"source {self.spec.label!r}"
        try:
            done = subprocess.run(
                command,
                input=stdin,
                cwd=self.folder,
                env=environment,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise SourceError(
                f"{where}: expected git on this machine, found none; install it, or use kind: path"
            ) from None
        except subprocess.TimeoutExpired:
            raise SourceError(f"{where}: expected it within {_SECONDS} s; git was still busy; try again") from None
        if done.returncode != 0:
            lines = without_credentials(done.stderr.decode("utf-8", "replace")).strip().splitlines()
            said = next((x for x in lines if x.startswith(("fatal:", "error:"))), lines[-1] if lines else "nothing")
            url = without_credentials(self.spec.url)
            raise SourceError(f"{where}: expected commit {self.spec.commit!r} of {url}; git says: {said}")
        return done.stdout


_FETCH = (
    "fetch",
    "--quiet",
    "--no-tags",
    "--no-recurse-submodules",
    "--no-write-commit-graph",
    "--no-auto-maintenance",
)
