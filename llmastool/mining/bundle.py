"""A bundle: one mined class, with exactly the code that it needs, and all that is known of it without running it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from llmastool.canonical import Json, digest, dumps, write_atomic
from llmastool.mining.packing import Packer, unpack_files


@dataclass(frozen=True, kw_only=True)
class SourcePin:
    """Where code came from, exactly."""

    kind: str
    """`installed` or `path`."""
    name: str
    """Name of the package, or of the folder."""
    version: str
    """Version of the package; empty where there is none."""
    digest: str
    """Hash over all files of the source, 16 hexadecimal digits."""
    licence: str
    """SPDX expression as the package states it; empty when it states none."""


@dataclass(frozen=True, kw_only=True)
class SlicedFile:
    """Of one source file, the top-level statements that a bundle needs."""

    name: str
    """Dotted module name, e.g. `torchvision.models.resnet`."""
    package: bool
    """Whether the file is an `__init__.py`."""
    statements: tuple[tuple[int, str], ...]
    """`(first line in the original file, source text)`, in the file's order. Imports are narrowed to what is used."""

    @property
    def text(self) -> str:
        """The statements as one source text."""
        return "\n".join(text for _, text in self.statements) + "\n"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter of a constructor or of `forward`, as written."""

    name: str
    kind: str
    """`positional`, `keyword`, `var_positional` or `var_keyword`."""
    annotation: str = ""
    """Source text; empty when there is none."""
    default: str | None = None
    """Source text; None when there is no default."""


@dataclass(frozen=True, kw_only=True)
class CallSite:
    """A call of the class found in its source: real argument values, where they are literals."""

    path: str
    line: int
    args: tuple[Json, ...]
    """Positional arguments: `{"value": literal}`, or `{"expr": source text}` where it is not a literal."""
    kwargs: dict[str, Json]
    """Keyword arguments, in the same form."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """One mined class, ready to be loaded as a small package of virtual modules."""

    name: str
    """Qualified name of the class, e.g. `torchvision.models.resnet.BasicBlock`."""
    module: str
    """Name of the file's module; the rest of `name` is the class's path within it."""
    source: SourcePin
    path: str
    """Path of the file within the source."""
    lines: tuple[int, int]
    """First and last line of the class in that file."""
    files: tuple[SlicedFile, ...]
    """The slice: every file that is needed, sorted by name."""
    docstring: str = ""
    signature: tuple[Parameter, ...] = ()
    """Parameters of the constructor, `self` left out, inherited where the class has none of its own."""
    forward: tuple[Parameter, ...] = ()
    """Parameters of `forward`, `self` left out."""
    has_forward: bool = True
    """Whether the class or a base in the source defines `forward`, or it inherits one of a class of `torch.nn`."""
    third_party: tuple[str, ...] = ()
    """Top-level packages that the slice imports, the source's own left out."""
    calls: tuple[CallSite, ...] = ()

    @cached_property
    def id(self) -> str:
        """Qualified name and a hash of the sliced sources: `torchvision.models.resnet.BasicBlock@3f2a9c1d04ab`."""
        body = [[f.name, f.package, [text for _, text in f.statements]] for f in self.files]
        return f"{self.name}@{digest([self.name, body])[:12]}"

    @property
    def qualname(self) -> str:
        """Path of the class within its module, e.g. `BasicBlock`."""
        return self.name[len(self.module) + 1 :]

    def to_json(self) -> Json:
        """Return a JSON value that `from_json` reads back."""
        return asdict(self)

    @staticmethod
    def from_json(value: Json) -> Bundle:
        """Read what `to_json` wrote."""
        return _bundle(value, _files(value["files"]))


@dataclass(frozen=True, kw_only=True)
class Program:
    """A piece of a source that builds modules when it is run: a function, or an example of its documentation."""

    name: str
    """Dotted name of the function; `<top package>.__example__.<n>` for an example."""
    kind: Literal["factory", "example"]
    module: str
    """Name of the file's module that holds the function, or that is the example."""
    files: tuple[SlicedFile, ...]
    """The slice: every file that is needed, sorted by name."""
    classes: tuple[str, ...] = ()
    """Names of the mined classes whose definitions are in the slice."""
    third_party: tuple[str, ...] = ()
    """Top-level packages that the slice imports, the source's own left out."""

    def to_json(self) -> Json:
        """Return a JSON value that `from_json` reads back."""
        return asdict(self)

    @staticmethod
    def from_json(value: Json) -> Program:
        """Read what `to_json` wrote."""
        return _program(value, _files(value["files"]))


def pack(bundles: Sequence[Bundle]) -> Json:
    """Return bundles as one JSON value, in their order, in which every statement is stored once."""
    return _pack(bundles)


def unpack(value: Json) -> list[Bundle]:
    """Read what `pack` made; the bundles share what they have in common."""
    return [_bundle(row, files) for row, files in _unpack(value)]


def write_bundles(path: Path, bundles: Sequence[Bundle]) -> None:
    """Write bundles packed, sorted by id: a line with the tables, then a line for each bundle."""
    _write(path, pack(sorted(bundles, key=lambda b: b.id)))


def read_bundles(path: Path) -> list[Bundle]:
    """Read what `write_bundles` wrote."""
    return unpack(_read(path))


def write_programs(path: Path, programs: Sequence[Program]) -> None:
    """Write programs in the same form, sorted by name."""
    _write(path, _pack(sorted(programs, key=lambda p: p.name)))


def read_programs(path: Path) -> list[Program]:
    """Read what `write_programs` wrote; nothing where there is no such file."""
    return [_program(row, files) for row, files in _unpack(_read(path))] if path.exists() else []


def _pack(items: Sequence[Bundle] | Sequence[Program]) -> Json:
    packer = Packer()
    rows = [{**replace(item, files=()).to_json(), "files": packer.add(item.files)} for item in items]
    return {"tables": packer.tables(), "rows": rows}


def _unpack(value: Json) -> Iterator[tuple[Json, tuple[SlicedFile, ...]]]:
    table = unpack_files(value["tables"], lambda n, p, s: SlicedFile(name=n, package=p, statements=s))
    return ((row, tuple(table[place] for place in row["files"])) for row in value["rows"])


def _write(path: Path, packed: Json) -> None:
    write_atomic(path, "".join(dumps(line) + "\n" for line in (packed["tables"], *packed["rows"])))


def _read(path: Path) -> Json:
    # not splitlines(): JSON leaves line separators of other scripts as they are
    tables, *rows = map(json.loads, path.read_text(encoding="utf-8").rstrip("\n").split("\n"))
    return {"tables": tables, "rows": rows}


def _files(value: Json) -> tuple[SlicedFile, ...]:
    return tuple(SlicedFile(**{**f, "statements": tuple((n, text) for n, text in f["statements"])}) for f in value)


def _bundle(value: Json, files: tuple[SlicedFile, ...]) -> Bundle:
    return Bundle(
        **{
            **value,
            "source": SourcePin(**value["source"]),
            "lines": tuple(value["lines"]),
            "files": files,
            "signature": tuple(Parameter(**p) for p in value["signature"]),
            "forward": tuple(Parameter(**p) for p in value["forward"]),
            "third_party": tuple(value["third_party"]),
            "calls": tuple(CallSite(**{**c, "args": tuple(c["args"])}) for c in value["calls"]),
        }
    )


def _program(value: Json, files: tuple[SlicedFile, ...]) -> Program:
    return Program(
        **{**value, "files": files, "classes": tuple(value["classes"]), "third_party": tuple(value["third_party"])}
    )
