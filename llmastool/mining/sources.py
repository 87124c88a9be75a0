"""Where code comes from: packages, folders and repositories, pinned by content. Nothing is imported or run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from llmastool.canonical import digest_bytes
from llmastool.config import require
from llmastool.errors import SourceError
from llmastool.mining.bundle import SourcePin

Kind = Literal["installed", "path", "pypi", "git"]

_DISTRIBUTION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+@-]*")
_URL = re.compile(r"(?:https?|ssh|git|file)://.+|[A-Za-z0-9._-]+@[A-Za-z0-9._-]+:.+")


@dataclass(frozen=True, kw_only=True)
class SourceSpec:
    """One source, as the user names it."""

    kind: Kind = "installed"
    """`installed`: a package of this environment. `path`: a folder. `pypi`: a release from the package index, fetched
    without installing it. `git`: a repository at a commit."""
    name: str = ""
    """Import name of an installed package; name of a distribution for `pypi`; else the name to record (the last part
    of the folder or URL when empty)."""
    version: str = ""
    """The release; only for `pypi`, which needs it."""
    url: str = ""
    """URL or folder of the repository; only for `git`."""
    commit: str = ""
    """Hash, tag or branch, resolved to the full hash when it is fetched; only for `git`, which needs it."""
    path: str = ""
    """The folder; only for `path`. Fetching fills it in for `pypi` and `git`."""
    include: tuple[str, ...] = ("*",)
    """Globs on paths within the source; a file must match one to have its classes mined."""
    exclude: tuple[str, ...] = ()
    """Globs on paths within the source whose classes are not mined. They can still be sliced into others."""

    def __post_init__(self) -> None:
        {"installed": self._installed, "path": self._path, "pypi": self._pypi, "git": self._git}[self.kind]()

    def _installed(self) -> None:
        require(bool(self.name), "name", "the import name of a package", self.name)
        self._empty("version", "url", "commit", "path")

    def _path(self) -> None:
        require(bool(self.path), "path", "a folder", self.path)
        self._empty("version", "url", "commit")

    def _pypi(self) -> None:
        named = bool(_DISTRIBUTION.fullmatch(self.name))
        require(named, "name", "the name of a distribution, such as vit-pytorch", self.name)
        pinned = bool(_VERSION.fullmatch(self.version))
        require(
            pinned, "version", "the exact release, such as 1.26.11 (`pip index versions NAME` lists them)", self.version
        )
        self._empty("url", "commit")

    def _git(self) -> None:
        local = bool(self.url) and not self.url.startswith("-") and "::" not in self.url and "://" not in self.url
        expected = "a https, ssh, git or file URL, or the folder of a repository"
        require(local or bool(_URL.fullmatch(self.url)), "url", expected, self.url)
        named = bool(_REVISION.fullmatch(self.commit)) and ".." not in self.commit
        require(named, "commit", "a hash, tag or branch", self.commit)
        self._empty("version")

    def _empty(self, *fields: str) -> None:
        for field in fields:
            require(not getattr(self, field), field, f"nothing for kind: {self.kind}", getattr(self, field))

    @property
    def label(self) -> str:
        """Name for messages and records."""
        if self.name:
            return self.name
        if self.kind == "git":
            return re.split(r"[/:]", self.url.rstrip("/"))[-1].removesuffix(".git") or "repository"
        return Path(self.path).resolve().name

    @property
    def fetched(self) -> bool:
        """Whether this kind has to be fetched before it can be read."""
        return self.kind in ("pypi", "git")

    def selects(self, path: str) -> bool:
        """Return whether classes of the file at `path` (relative to the source) are to be mined."""
        return any(fnmatch(path, g) for g in self.include) and not any(fnmatch(path, g) for g in self.exclude)


@dataclass(frozen=True, kw_only=True)
class MiningConfig:
    """What to mine."""

    sources: tuple[SourceSpec, ...] = ()
    """Sources, in order."""
    set: str | None = None
    """Name of a set of sources that is mined as well, such as `large`; null for none."""
    sets: str = "sources.yaml"
    """File of the sets: a list of sources under each name."""

    def __post_init__(self) -> None:
        require(bool(self.sources) or self.set is not None, "sources", "at least one source", self.sources)
        distinct(self.sources)


def distinct(sources: tuple[SourceSpec, ...]) -> tuple[SourceSpec, ...]:
    """Return the sources, of which no two may have the same label.

    Raises:
        ConfigError: two have.
    """
    labels = [s.label for s in sources]
    require(len(set(labels)) == len(labels), "sources", "a different name for each", labels)
    return sources


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
    texts: tuple[tuple[str, str], ...] = ()
    """Its documentation: name and text of the README, or of the long description of its distribution. Untrusted."""
    unread: tuple[str, ...] = ()
    """Paths of Python files that were left out: too large, not readable, or links that lead out of the source."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A source's place on this machine, and what is known of it apart from its Python files."""

    root: Path
    """Folder of the Python files."""
    prefix: tuple[str, ...]
    """Parts of the dotted name that modules directly in `root` have before their own."""
    version: str = ""
    """Release of the distribution, or full hash of the commit."""
    licence: str = ""
    """SPDX expression as stated, or told from the text of a licence; empty when neither."""
    texts: tuple[tuple[str, str], ...] = ()
    """As `SourceTree.texts`."""
    digest: str = ""
    """Digest that the files must have: that of the moment when they were fetched. Empty: any."""


def read_source(spec: SourceSpec) -> SourceTree:
    """Read all Python files of a source.

    Raises:
        SourceError: there is no such package or folder, it was not fetched or was changed since, or it holds no
            Python file.
    """
    from llmastool.mining.fetch import fetched_origin
    from llmastool.mining.folders import folder_origin, installed_origin, read_files

    find = {"installed": installed_origin, "path": folder_origin, "pypi": fetched_origin, "git": fetched_origin}
    origin = find[spec.kind](spec)
    files, unread = read_files(origin.root, origin.prefix)
    if not files:
        raise SourceError(f"source {spec.label!r}: expected Python files under {origin.root}, found none")
    content = digest_files(files)
    if origin.digest and content != origin.digest:
        raise SourceError(
            f"source {spec.label!r}: expected the files that were fetched (digest {origin.digest}), found others "
            f"({content}) in {spec.path}; delete that folder and fetch again"
        )
    pin = SourcePin(kind=spec.kind, name=spec.label, version=origin.version, digest=content, licence=origin.licence)
    return SourceTree(spec, pin, files, origin.texts, unread)


def digest_files(files: tuple[SourceFile, ...]) -> str:
    """Return the hash over paths and contents of files, 16 hexadecimal digits."""
    return digest_bytes(*(part for f in files for part in (f.path.encode(), f.content)))[:16]
