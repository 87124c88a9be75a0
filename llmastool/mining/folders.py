"""Sources that are on this machine already: installed packages and folders."""

from __future__ import annotations

import email.message
import importlib.metadata
import importlib.util
import os
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from llmastool.errors import SourceError
from llmastool.mining.licences import LICENCE_FILE, licence_of, licence_of_texts
from llmastool.mining.sources import Origin, SourceFile, SourceSpec

LARGEST_FILE = 16 * 1024 * 1024
"""Largest Python file that is read, in bytes."""

LARGEST_TEXT = 1024 * 1024
"""How much of a README is read, in bytes."""


def installed_origin(spec: SourceSpec) -> Origin:
    """Return where an installed package is.

    Raises:
        SourceError: there is none of that name, or it is a single module.
    """
    root, prefix = _package_root(spec.name), tuple(spec.name.split("."))
    for distribution in importlib.metadata.packages_distributions().get(prefix[0], []):
        # The protocol of importlib.metadata hides that this is an email message, which has the defaults that we need.
        meta = cast(email.message.Message, importlib.metadata.metadata(distribution))
        version, texts = meta.get("Version") or "", description(meta)
        return Origin(root=root, prefix=prefix, version=version, licence=licence_of(meta), texts=texts)
    return Origin(root=root, prefix=prefix)


def folder_origin(spec: SourceSpec) -> Origin:
    """Return how a folder is laid out: a package, a `src` layout, or a folder of packages.

    Raises:
        SourceError: there is no such folder.
    """
    top = Path(spec.path).expanduser().resolve()
    if not top.is_dir():
        found = "a file" if top.exists() else "nothing"
        raise SourceError(f"source {spec.label!r}: expected a folder, found {found} at {top}")
    root, prefix = layout_of(top, top.name)
    texts = readmes(top) or (readmes(top.parent) if root == top and prefix else ())
    return Origin(root=root, prefix=prefix, version=_commit(top), licence=licence_of_texts(_licences(top)), texts=texts)


def layout_of(top: Path, name: str) -> tuple[Path, tuple[str, ...]]:
    """Return the folder that holds the Python files of a project, and the parts of the name above it.

    Args:
        top: folder of the project.
        name: what the project's folder is called where it is a package itself.
    """
    if (top / "__init__.py").is_file():
        return top, (name,)
    source = top / "src"
    if source.is_dir() and (any(source.glob("*.py")) or any(source.glob("*/__init__.py"))):
        return source, ()
    return top, ()


def read_files(root: Path, prefix: tuple[str, ...]) -> tuple[tuple[SourceFile, ...], tuple[str, ...]]:
    """Read all Python files under a folder.

    Links to folders are not followed, so that a loop of links ends; links to files are, unless they lead out of `root`:
    a source must not pull in what else lies on this machine.

    Args:
        root: the folder.
        prefix: parts of the dotted name of `root` itself.

    Returns:
        The files, sorted by folder and name, and the paths of those that were left out.
    """
    files, unread, real = [], [], root.resolve()
    for path in _python_files(root):
        relative = path.relative_to(root)
        # A name that is no UTF-8 could not be written down later.
        shown = os.fsencode(relative.as_posix()).decode("utf-8", "replace")
        try:
            whole = path.resolve().is_relative_to(real) and path.stat().st_size <= LARGEST_FILE
            content = path.read_bytes() if whole else None
        except OSError:
            content = None
        if content is None:
            unread.append(shown)
            continue
        parts = [*prefix, *shown.removesuffix(".py").split("/")]
        package = path.name == "__init__.py"
        module = ".".join(parts[:-1] if package else parts)
        if module:
            files.append(SourceFile(module, package, shown, content))
    return tuple(files), tuple(unread)


def readmes(folder: Path) -> tuple[tuple[str, str], ...]:
    """Return name and text of each README directly in a folder."""
    return tuple((p.name, _text(p)) for p in sorted(folder.iterdir()) if _is_named(p, "readme"))


def description(meta: email.message.Message) -> tuple[tuple[str, str], ...]:
    """Return the long description in the metadata of a distribution, under the name `METADATA`; nothing if empty."""
    text = meta.get_payload()
    if not isinstance(text, str) or not text.strip():
        # The older form is a header, whose lines after the first are indented.
        first, _, rest = (meta.get("Description") or "").partition("\n")
        text = f"{first.strip()}\n{textwrap.dedent(rest)}"
    return (("METADATA", text[:LARGEST_TEXT]),) if text.strip() else ()


def _package_root(name: str) -> Path:
    top, *inner = name.split(".")
    try:
        # Only of the top: to find the spec of `a.b`, Python would import `a`.
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        found = None
    if found is not None and not found.submodule_search_locations:
        raise SourceError(
            f"source {name!r}: expected a package, found a single module ({found.origin}); use kind: path"
        )
    for location in (found.submodule_search_locations or ()) if found is not None else ():
        root = Path(location, *inner)
        if root.is_dir():
            return root
    raise SourceError(
        f"source {name!r}: expected an installed package, found none of that import name; "
        f"install it, or use kind: pypi, path or git"
    )


def _commit(root: Path) -> str:
    argv = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _python_files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(f for f in folders if f != "__pycache__" and not f.startswith("."))
        for name in sorted(names):
            path = Path(folder) / name
            if name.endswith(".py") and path.is_file():
                yield path


def _licences(folder: Path) -> Iterator[str]:
    return (_text(p) for p in sorted(folder.iterdir()) if LICENCE_FILE.fullmatch(p.name) and _is_plain(p))


def _is_named(path: Path, start: str) -> bool:
    return path.name.lower().split(".")[0] == start and _is_plain(path)


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and os.access(path, os.R_OK)


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(LARGEST_TEXT).decode("utf-8", "replace")
