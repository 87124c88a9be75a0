"""Mine a source: read, index, find, slice. Nothing of it is imported or run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from llmastool.canonical import write_json
from llmastool.errors import SourceError
from llmastool.mining.bundle import Bundle, SourcePin, write_bundles
from llmastool.mining.calls import call_sites
from llmastool.mining.classes import ClassFinder, docstring, parameters
from llmastool.mining.index import SourceIndex
from llmastool.mining.slicing import Slicer
from llmastool.mining.sources import SourceSpec, read_source

DOCSTRING_LIMIT = 2000
"""Longest docstring that is kept, in characters."""


@dataclass(frozen=True, kw_only=True)
class Mined:
    """What one source gave."""

    pin: SourcePin
    bundles: tuple[Bundle, ...]
    broken_files: tuple[str, ...]
    """Paths of files with syntax errors; what could be parsed of them was mined."""


def mine_source(spec: SourceSpec) -> Mined:
    """Cut every module class of a source out of it.

    Raises:
        SourceError: the source cannot be read, or has no module class where its globs look.
    """
    tree = read_source(spec)
    index = SourceIndex(tree)
    finder, slicer = ClassFinder(index), Slicer(index)
    classes = [c for c in finder.find() if spec.selects(c.file.source.path)]
    if not classes:
        raise SourceError(
            f"source {spec.label!r}: expected classes that derive from torch.nn.Module, found none in "
            f"{len(tree.files)} Python files (include {list(spec.include)}, exclude {list(spec.exclude)})"
        )
    sites = call_sites(index, {c.name for c in classes})
    bundles = []
    for cls in classes:
        files, third_party = slicer.slice(cls)
        bundles.append(
            Bundle(
                name=cls.name,
                module=cls.file.name,
                source=tree.pin,
                path=cls.file.source.path,
                lines=cls.lines,
                files=files,
                docstring=docstring(cls.node)[:DOCSTRING_LIMIT],
                signature=parameters(finder.method(cls, "__init__")),
                forward=parameters(finder.method(cls, "forward")),
                has_forward=finder.has_forward(cls),
                third_party=third_party,
                calls=sites.get(cls.name, ()),
            )
        )
    broken = tuple(f.source.path for f in index.files.values() if f.broken)
    return Mined(pin=tree.pin, bundles=tuple(bundles), broken_files=broken)


def write(mined: Sequence[Mined], out: Path) -> None:
    """Write `bundles.jsonl` and `summary.json` of all sources into a folder."""
    write_bundles(out / "bundles.jsonl", [b for m in mined for b in m.bundles])
    sources = [{**asdict(m.pin), "found": len(m.bundles), "broken_files": list(m.broken_files)} for m in mined]
    write_json(out / "summary.json", {"sources": sources})
