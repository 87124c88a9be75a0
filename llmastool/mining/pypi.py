"""Fetch a release from the package index with pip, and read it. It is not installed, and no code of it runs."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from llmastool.errors import SourceError
from llmastool.mining.archives import facts_of, packages_of, read_archive
from llmastool.mining.fetch import Fetched
from llmastool.mining.sources import SourceSpec

_SECONDS = 900
"""Longest that pip may take for one release."""


def fetch_release(spec: SourceSpec) -> Fetched:
    """Fetch a release: its wheel, or else its source distribution.

    pip is run as the user has set it up (index, proxy, certificates). For a source distribution, `pip download` would
    run its `setup.py` to learn its metadata; pip's parts are used instead to find the file and get it.

    Raises:
        SourceError: pip is missing or finds no such release, or the archive is broken or holds no package.
    """
    # Not looked for by import: with that alone, setuptools stops standing in for distutils in this process.
    if not any(importlib.metadata.distributions(name="pip")):
        raise SourceError(f"source {spec.label!r}: expected pip in {sys.prefix}; run `{sys.executable} -m ensurepip`")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = _wheel(spec, folder) or _source_distribution(spec, folder)
        members = read_archive(archive, spec.label)
        base, packages = packages_of(members)
        files = {
            inner: content
            for path, content in members.items()
            if path.endswith(".py") and path.startswith(base)
            if (inner := path.removeprefix(base)).split("/")[0].removesuffix(".py") in packages
        }
        if not files:
            raise SourceError(f"source {spec.label!r}: expected a Python package in {archive.name}, found none")
        licence, texts = facts_of(members)
        # With one package, paths are relative to it, as for an installed one: the same globs hold for both.
        single = len(packages) == 1 and f"{packages[0]}.py" not in files
        return Fetched(
            files=files,
            root=packages[0] if single else "",
            prefix=tuple(packages) if single else (),
            version=spec.version,
            origin=archive.name,
            sha256=hashlib.sha256(archive.read_bytes()).hexdigest(),
            licence=licence,
            texts=texts,
        )


def _wheel(spec: SourceSpec, folder: Path) -> Path | None:
    """Return the release's wheel, None when it has none that pip would take here."""
    options = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--no-input", "--quiet"]
    release = f"{spec.name}=={spec.version}"
    _run([sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), "--", release], folder, spec)
    return next(iter(sorted(folder.glob("*.whl"))), None)


def _source_distribution(spec: SourceSpec, folder: Path) -> Path:
    argv = [sys.executable, "-m", "llmastool.mining.sdist", spec.name, spec.version, str(folder)]
    done = _run(argv, Path.cwd(), spec)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise SourceError(
            f"source {spec.label!r}: expected release {spec.version} of {spec.name} in the package index, found no "
            f"wheel of it, and pip cannot look for a source distribution: {_last_line(done.stderr)}; get its code in "
            "another way, and use kind: path or git"
        ) from None
    if "file" in answer:
        return folder / answer["file"]
    known = ", ".join(answer["versions"][-8:])
    has = (
        f"its releases are: {known}" if known else f"the index has none of it ({_last_line(done.stderr) or 'no error'})"
    )
    raise SourceError(
        f"source {spec.label!r}: expected release {spec.version} of {spec.name} in the package index, found neither a "
        f"wheel nor a source distribution; {has}"
    )


def _run(argv: list[str], cwd: Path, spec: SourceSpec) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            argv, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise SourceError(
            f"source {spec.label!r}: expected it within {_SECONDS} s; pip was still busy; try again"
        ) from None


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
