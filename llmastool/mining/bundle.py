"""A bundle: one mined class, with exactly the code that it needs, and all that is known of it without running it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from llmastool.canonical import Json, digest, dumps, write_atomic


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
        return Bundle(
            **{
                **value,
                "source": SourcePin(**value["source"]),
                "lines": tuple(value["lines"]),
                "files": tuple(
                    SlicedFile(**{**f, "statements": tuple((line, text) for line, text in f["statements"])})
                    for f in value["files"]
                ),
                "signature": tuple(Parameter(**p) for p in value["signature"]),
                "forward": tuple(Parameter(**p) for p in value["forward"]),
                "third_party": tuple(value["third_party"]),
                "calls": tuple(CallSite(**{**c, "args": tuple(c["args"])}) for c in value["calls"]),
            }
        )


def write_bundles(path: Path, bundles: Sequence[Bundle]) -> None:
    """Write bundles as one JSON-lines file, sorted by id."""
    ordered = sorted(bundles, key=lambda b: b.id)
    write_atomic(path, "".join(dumps(b.to_json()) + "\n" for b in ordered))


def read_bundles(path: Path) -> list[Bundle]:
    """Read what `write_bundles` wrote."""
    return [Bundle.from_json(json.loads(line)) for line in path.read_text().splitlines()]
