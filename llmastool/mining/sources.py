"""Where code comes from: installed packages and folders, pinned by content. Nothing is imported or run."""

from __future__ import annotations

import email.message
import importlib.metadata
import importlib.util
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal, cast

from llmastool.canonical import digest_bytes
from llmastool.config import require
from llmastool.errors import SourceError
from llmastool.mining.bundle import SourcePin


@dataclass(frozen=True, kw_only=True)
class SourceSpec:
    """One source, as the user names it."""

    kind: Literal["installed", "path"] = "installed"
    """`installed`: a package of this environment. `path`: a folder."""
    name: str = ""
    """Import name of the package; for a folder, the name to record (the folder's own when empty)."""
    path: str = ""
    """The folder; only for `path`."""
    include: tuple[str, ...] = ("*",)
    """Globs on paths within the source; a file must match one to have its classes mined."""
    exclude: tuple[str, ...] = ()
    """Globs on paths within the source whose classes are not mined. They can still be sliced into others."""

    def __post_init__(self) -> None:
        if self.kind == "installed":
            require(bool(self.name), "name", "the import name of a package", self.name)
        else:
            require(bool(self.path), "path", "a folder", self.path)

    @property
    def label(self) -> str:
        """Name for messages and records."""
        return self.name or Path(self.path).resolve().name

    def selects(self, path: str) -> bool:
        """Return whether classes of the file at `path` (relative to the source) are to be mined."""
        return any(fnmatch(path, g) for g in self.include) and not any(fnmatch(path, g) for g in self.exclude)


@dataclass(frozen=True, kw_only=True)
class MiningConfig:
    """What to mine."""

    sources: tuple[SourceSpec, ...]
    """Sources, in order."""

    def __post_init__(self) -> None:
        require(bool(self.sources), "sources", "at least one source", self.sources)
        labels = [s.label for s in self.sources]
        require(len(set(labels)) == len(labels), "sources", "a different name for each", labels)


@dataclass(frozen=True)
class SourceFile:
    """One Python file of a source."""

    module: str
    """Dotted name under which it would be imported."""
    package: bool
    """Whether it is an `__init__.py`."""
    path: str
    """Path relative to the source's root, with `/`."""
    content: bytes


@dataclass(frozen=True)
class SourceTree:
    """All Python files of a source, read and pinned."""

    spec: SourceSpec
    pin: SourcePin
    files: tuple[SourceFile, ...]


def read_source(spec: SourceSpec) -> SourceTree:
    """Read all Python files of a source.

    Raises:
        SourceError: there is no such package or folder, or it holds no Python file.
    """
    if spec.kind == "installed":
        root = _package_root(spec.name)
        prefix: Sequence[str] = spec.name.split(".")
        version, licence = _package_metadata(spec.name)
    else:
        root, prefix = _folder_root(spec)
        version, licence = _commit(root), ""
    files = tuple(_read_files(root, prefix))
    if not files:
        raise SourceError(f"source {spec.label!r}: expected Python files under {root}, found none")
    content = digest_bytes(*(part for f in files for part in (f.path.encode(), f.content)))
    pin = SourcePin(kind=spec.kind, name=spec.label, version=version, digest=content[:16], licence=licence)
    return SourceTree(spec, pin, files)


def _package_root(name: str) -> Path:
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise SourceError(
            f"source {name!r}: expected an installed package, found none of that import name; "
            f"install it, or use kind: path"
        )
    if found.submodule_search_locations:
        return Path(next(iter(found.submodule_search_locations)))
    raise SourceError(f"source {name!r}: expected a package, found a single module ({found.origin}); use kind: path")


def _package_metadata(name: str) -> tuple[str, str]:
    """Return version and licence of the distribution that brought a package; empty strings when unknown."""
    top = name.split(".")[0]
    for distribution in importlib.metadata.packages_distributions().get(top, []):
        meta = cast(email.message.Message, importlib.metadata.metadata(distribution))
        return meta.get("Version") or "", licence_of(meta)
    return "", ""


def licence_of(meta: email.message.Message) -> str:
    """Return the licence a distribution states: its SPDX expression, else its licence line or classifier."""
    if expression := meta.get("License-Expression"):
        return str(expression)
    line = (meta.get("License") or "").strip()
    if line and "\n" not in line and len(line) <= 40:
        return line
    classifiers = [c for c in meta.get_all("Classifier") or [] if c.startswith("License ::")]
    return classifiers[0].split("::")[-1].strip() if classifiers else ""


def _folder_root(spec: SourceSpec) -> tuple[Path, Sequence[str]]:
    root = Path(spec.path).expanduser().resolve()
    if not root.is_dir():
        raise SourceError(f"source {spec.label!r}: expected a folder, found none at {root}")
    if (root / "__init__.py").is_file():
        return root, [root.name]
    return (root / "src", []) if (root / "src").is_dir() else (root, [])


def _commit(root: Path) -> str:
    argv = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _read_files(root: Path, prefix: Sequence[str]) -> Iterator[SourceFile]:
    for folder, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(f for f in folders if f != "__pycache__" and not f.startswith("."))
        for name in sorted(names):
            path = Path(folder) / name
            if name.endswith(".py") and path.is_file():
                relative = path.relative_to(root)
                parts = [*prefix, *relative.with_suffix("").parts]
                package = name == "__init__.py"
                module = ".".join(parts[:-1] if package else parts)
                if module:
                    yield SourceFile(module, package, relative.as_posix(), path.read_bytes())
