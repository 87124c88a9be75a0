"""Load a bundle: its sliced files become a small package of virtual modules under a private prefix.

Each file keeps its own namespace, so two helpers of one name never clash and nothing is renamed. Imports of the
bundle's own source, relative or absolute, lead to its sliced files and never to an installed package of that name;
what the slice does not hold raises ImportError, as a missing file would. This runs foreign code: before a bundle is
registered, call it inside the sandbox only.
"""

from __future__ import annotations

import builtins
import importlib
import linecache
import re
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmastool.canonical import digest
from llmastool.mining.bundle import Bundle, SlicedFile

PREFIX = "_mined_"
"""Start of the names of all virtual packages."""


def load_bundle(bundle: Bundle) -> Any:
    """Return the class of a bundle, ready to be called.

    Raises:
        Exception: whatever the sliced code raises when it is executed; ImportError for a missing import.
    """
    package = load_package(bundle)
    return package.lookup(bundle.module, bundle.qualname)


def load_package(bundle: Bundle) -> VirtualPackage:
    """Return the bundle's package, loaded once per process."""
    return _PACKAGES.get((bundle.id, "")) or _load(bundle, bundle.id.rpartition("@")[2])


def load_beside(bundle: Bundle, home: Bundle) -> VirtualPackage:
    """Return a bundle's package for use together with another bundle of its source, loaded once per process.

    Classes and functions that both slices hold are those of `home`, so that its code knows them as its own: it may
    ask whether an object is of such a class.
    """
    found = _PACKAGES.get((bundle.id, home.id))
    if found is not None:
        return found
    theirs = {f.name: f for f in home.files}
    if not any(_shared(f, theirs.get(f.name)) for f in bundle.files):
        return load_package(bundle)
    return _load(bundle, digest([bundle.id, home.id])[:12], home)


def _load(bundle: Bundle, code: str, home: Bundle | None = None) -> VirtualPackage:
    package = VirtualPackage(PREFIX + code, bundle.files, load_package(home) if home is not None else None)
    package.execute(bundle.module)
    _PACKAGES[bundle.id, home.id if home is not None else ""] = package
    return package


def _shared(file: SlicedFile, other: SlicedFile | None) -> dict[tuple[int, str], str]:
    """Return the definitions that two slices of a file have in common, each with the name that it defines."""
    both = set(file.statements) & set(other.statements) if other is not None else set()
    named = ((statement, _DEFINES.match(statement[1])) for statement in both)
    return {statement: match.group(1) for statement, match in named if match is not None}


def definitions(file: SlicedFile) -> list[str]:
    """Return the names of the functions and classes that a sliced file defines."""
    return [match.group(1) for _, text in file.statements if (match := _DEFINES.match(text)) is not None]


class VirtualPackage:
    """The sliced files of one bundle as importable modules under a prefix."""

    def __init__(self, prefix: str, files: Sequence[SlicedFile], base: VirtualPackage | None = None) -> None:
        """Make the package; nothing is executed.

        Args:
            prefix: start of the names of its modules.
            files: the sliced files.
            base: a package whose classes and functions are taken where it has the same.
        """
        self.prefix, self.base = prefix, base
        self.files = {f.name: f for f in files}
        self.tops = {name.split(".")[0] for name in self.files}
        self._known = {".".join(n.split(".")[:i]) for n in self.files for i in range(1, n.count(".") + 2)}

    def lookup(self, module: str, qualname: str) -> Any:
        """Return an object by module and dotted path within it."""
        value: Any = self.execute(module)
        for part in qualname.split("."):
            value = getattr(value, part)
        return value

    def execute(self, name: str) -> types.ModuleType:
        """Return the virtual module of a sliced file, executing it and its parents at first use.

        Raises:
            ImportError: the slice has no such file.
        """
        full = f"{self.prefix}.{name}"
        if full in sys.modules:
            return sys.modules[full]
        if name not in self._known:
            raise ModuleNotFoundError(f"No module named {name!r} in the slice", name=name)
        parent, _, last = name.rpartition(".")
        holder = self.execute(parent) if parent else self._root()
        module = self._create(name, full)
        sys.modules[full] = module
        try:
            self._run(name, module)
        except BaseException:
            del sys.modules[full]
            raise
        setattr(holder, last, module)
        return module

    def _root(self) -> types.ModuleType:
        if self.prefix not in sys.modules:
            root = types.ModuleType(self.prefix)
            root.__path__ = []
            sys.modules[self.prefix] = root
        return sys.modules[self.prefix]

    def _create(self, name: str, full: str) -> types.ModuleType:
        module = types.ModuleType(full)
        file = self.files.get(name)
        is_package = file is None or file.package
        if is_package:
            module.__path__ = []
        module.__package__ = full if is_package else full.rpartition(".")[0]
        module.__file__ = f"<{self.prefix}>/{name.replace('.', '/')}.py"
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}
        return module

    def _run(self, name: str, module: types.ModuleType) -> None:
        file = self.files.get(name)
        if file is None:
            return
        assert module.__file__ is not None
        if self.base is not None:
            shared = _shared(file, self.base.files.get(name))
            theirs = vars(self.base.execute(name)) if shared else {}
            module.__dict__.update({defined: theirs[defined] for defined in shared.values() if defined in theirs})
            file = replace(file, statements=tuple(s for s in file.statements if shared.get(s) not in theirs))
        lines = file.text.splitlines(keepends=True)
        linecache.cache[module.__file__] = (len(file.text), None, lines, module.__file__)
        exec(compile(file.text, module.__file__, "exec", dont_inherit=True), module.__dict__)

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> types.ModuleType:
        """Stand in for `__import__` in sliced code: names of the bundle's own source lead to its sliced files."""
        own = self._absolute(name, globals or {}, level)
        if own is None:
            return importlib.__import__(name, globals, locals, fromlist or (), level)
        module = self.execute(own)
        if not fromlist:
            return self.execute(own.split(".")[0])
        for item in fromlist:
            if item != "*" and not hasattr(module, item) and f"{own}.{item}" in self._known:
                self.execute(f"{own}.{item}")
        return module

    def _absolute(self, name: str, namespace: Mapping[str, object], level: int) -> str | None:
        if level == 0:
            return name if name.split(".")[0] in self.tops else None
        parts = str(namespace.get("__package__", "")).split(".")[1:]
        if level - 1 > len(parts):
            raise ImportError("attempted relative import beyond top-level package")
        parts = parts[: len(parts) - (level - 1)]
        return ".".join([*parts, name] if name else parts)


_DEFINES = re.compile(r"(?:@[^\n]*\n)*(?:async def|def|class)\s+(\w+)")
"""A definition, decorated or not, and its name."""

_PACKAGES: dict[tuple[str, str], VirtualPackage] = {}
"""Loaded packages, by the ids of the bundle and of the one beside which it was loaded, if any."""
