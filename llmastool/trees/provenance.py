"""Where an exported file's code comes from, for its first lines; and our own blocks as a source like any other."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import llmastool
from llmastool.errors import RegistryError
from llmastool.filler.text import clean_line
from llmastool.mining.bundle import Bundle, SlicedFile, SourcePin
from llmastool.trees.scopes import module_uses
from llmastool.trees.spans import Text
from llmastool.trees.units import Source, Unit

BLOCKS = "llmastool.blocks"
"""Module of our own blocks, and the digest under which it counts as a source."""

_LICENCE = "Apache-2.0"
_WIDTH = 108


def blocks_bundle(names: Sequence[str]) -> Bundle:
    """Return some of our own blocks, with what they need, as a bundle.

    Raises:
        RegistryError: there is no block of one of the names.
    """
    path = Path(llmastool.__file__).with_name("blocks.py")
    text = path.read_text()
    source, statements = Text(text), ast.parse(text).body
    found: dict[int, str] = {}
    queue = list(names)
    while queue:
        name = queue.pop()
        binders = [s for s in statements if any(u.binds and u.name == name for u in module_uses(s))]
        if not binders and name in names:
            raise RegistryError(f"{BLOCKS}.{name}: expected one of our own blocks, there is none of that name")
        for statement in binders:
            if statement.lineno not in found:
                found[statement.lineno] = source.content[slice(*source.span(statement))].decode()
                queue.extend(use.name for use in module_uses(statement))
    pin = SourcePin(kind="installed", name="llmastool", version=llmastool.__version__, digest=BLOCKS, licence=_LICENCE)
    file = SlicedFile(name=BLOCKS, package=False, statements=tuple(sorted(found.items())))
    return Bundle(
        name=BLOCKS, module=BLOCKS, source=pin, path=f"{BLOCKS.replace('.', '/')}.py",
        lines=(min(found), max(line + text.count("\n") for line, text in found.items())), files=(file,),
    )  # fmt: skip


def header(
    title: str,
    notes: Iterable[str],
    bundles: Sequence[Bundle],
    sources: Mapping[str, Source],
    boxed: Mapping[Unit, str],
) -> str:
    """Return the docstring of a file: title, notes, and for every mined part its origin and licence."""
    lines = [clean_line(title, _WIDTH), *_block(notes), *_block(_origins(bundles, sources)), *_block(_boxes(boxed))]
    content = "\n".join(lines).replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'"""{content}\n"""\n' if len(lines) > 1 else f'"""{content}"""\n'


def _origins(bundles: Sequence[Bundle], sources: Mapping[str, Source]) -> list[str]:
    if not bundles:
        return []
    lines = ["Copied from these sources as it was written, but for imports and for names that would clash:"]
    for pin in sorted({bundle.source for bundle in bundles}, key=lambda pin: (pin.name, pin.version, pin.digest)):
        version = f" {pin.version}" if pin.version else ""
        content = "" if pin.digest == BLOCKS else f"; sha256 of its files {pin.digest}"
        lines.append(f"{pin.name}{version}, licence: {pin.licence or 'not stated'}{content}")
        mine = sorted((bundle for bundle in bundles if bundle.source == pin), key=lambda bundle: bundle.name)
        units = sources[pin.digest].units
        lines.extend(f"  {b.name}: {units[b.module].path}, lines {b.lines[0]} to {b.lines[1]}" for b in mine)
        others = sorted(u.path for u in units.values() if u.chunks and u.name not in {b.module for b in mine})
        if others:
            lines.append(f"  with what they need of {', '.join(others)}")
    return lines


def _boxes(boxed: Mapping[Unit, str]) -> list[str]:
    return [f"{unit.path} keeps a namespace of its own, because {reason}." for unit, reason in boxed.items()]


def _block(lines: Iterable[str]) -> list[str]:
    """Wrap lines, with an empty one before them; nothing where there are none."""
    wrapped = []
    for line in lines:
        pad = " " * (len(line) - len(line.lstrip(" ")))
        wrapped += textwrap.wrap(
            clean_line(line, 2000), _WIDTH, initial_indent=pad, subsequent_indent=f"{pad}    ", break_long_words=False
        )
    return ["", *wrapped] if wrapped else []
