"""Mine a source: read, index, find, slice. Nothing of it is imported or run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from llmastool.canonical import write_json
from llmastool.errors import SourceError
from llmastool.mining.bundle import Bundle, CallSite, Program, SourcePin, write_bundles, write_programs
from llmastool.mining.calls import call_sites
from llmastool.mining.classes import ClassFinder, ModuleClass, docstring, parameters
from llmastool.mining.examples import find_examples
from llmastool.mining.factories import find_factories
from llmastool.mining.index import SourceIndex
from llmastool.mining.slicing import Slicer
from llmastool.mining.sources import SourceSpec, SourceTree, read_source

DOCSTRING_LIMIT = 2000
"""Longest docstring that is kept, in characters."""


@dataclass(frozen=True, kw_only=True)
class Mined:
    """What one source gave."""

    pin: SourcePin
    bundles: tuple[Bundle, ...]
    broken_files: tuple[str, ...]
    """Paths of files that Python 3 cannot read, what could be parsed of them was mined, and of those that were left
    out: too large, not readable, or links that lead out of the source."""
    programs: tuple[Program, ...] = ()
    """Factories and examples that build the source's modules."""


def mine_source(spec: SourceSpec) -> Mined:
    """Cut every module class of a source out of it, and the programs that build them.

    Raises:
        SourceError: the source cannot be read, or has no module class where its globs look.
    """
    tree = read_source(spec)
    index = SourceIndex(tree)
    finder, slicer = ClassFinder(index), Slicer(index)
    selected = [file for file in index.files.values() if spec.selects(file.source.path)]
    classes = [cls for file in selected for cls in finder.find_in(file)]
    if not classes:
        raise SourceError(
            f"source {spec.label!r}: expected classes that derive from torch.nn.Module, found none in "
            f"{len(tree.files)} Python files (include {list(spec.include)}, exclude {list(spec.exclude)})"
        )
    sites = call_sites(index, {c.name for c in classes})
    return Mined(
        pin=tree.pin,
        bundles=tuple(_bundle(tree, finder, slicer, c, sites.get(c.name, ())) for c in classes),
        broken_files=(*(f.source.path for f in index.files.values() if f.broken), *tree.unread),
        programs=_programs(spec, tree, index, slicer, classes),
    )


def _bundle(
    tree: SourceTree, finder: ClassFinder, slicer: Slicer, cls: ModuleClass, calls: tuple[CallSite, ...]
) -> Bundle:
    cut = slicer.slice(cls)
    return Bundle(
        name=cls.name,
        module=cls.file.name,
        source=tree.pin,
        path=cls.file.source.path,
        lines=cls.lines,
        files=cut.files,
        docstring=docstring(cls.node)[:DOCSTRING_LIMIT],
        signature=parameters(finder.method(cls, "__init__")),
        forward=parameters(finder.method(cls, "forward")),
        has_forward=finder.has_forward(cls),
        third_party=cut.third_party,
        calls=calls,
    )


def _programs(
    spec: SourceSpec, tree: SourceTree, index: SourceIndex, slicer: Slicer, classes: Sequence[ModuleClass]
) -> tuple[Program, ...]:
    owners: dict[int, list[str]] = {}
    for cls in classes:
        owners.setdefault(id(cls.statement), []).append(cls.name)
    files = [module for module, file in index.files.items() if spec.selects(file.source.path)]
    texts: tuple[tuple[str, str], ...] = getattr(tree, "texts", ())
    factories = find_factories(index, slicer, owners, files)
    return (*factories, *find_examples(index, slicer, classes, owners, texts))


def write(mined: Sequence[Mined], out: Path) -> None:
    """Write `bundles.jsonl`, `programs.jsonl` and `summary.json` of all sources into a folder."""
    write_bundles(out / "bundles.jsonl", [b for m in mined for b in m.bundles])
    write_programs(out / "programs.jsonl", [p for m in mined for p in m.programs])
    sources = [
        {
            **asdict(m.pin),
            "found": len(m.bundles),
            "programs": dict(sorted(Counter(p.kind for p in m.programs).items())),
            "broken_files": list(m.broken_files),
        }
        for m in mined
    ]
    write_json(out / "summary.json", {"sources": sources})
