"""Examples: code blocks of a source's README and of its classes' docstrings, as programs that build its modules."""

from __future__ import annotations

import builtins
import doctest
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from llmastool.mining.bundle import Program
from llmastool.mining.classes import ModuleClass, docstring
from llmastool.mining.decode import compiles
from llmastool.mining.factories import classes_in
from llmastool.mining.imports import import_lines
from llmastool.mining.index import SourceIndex
from llmastool.mining.nodes import chain, field, walk
from llmastool.mining.parsed import IndexedFile
from llmastool.mining.slicing import Slicer
from llmastool.mining.sources import SourceFile

_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})[ \t]*(?:python|python3|py|pycon)\b[^\n]*\n(.*?)^\1\2", re.M | re.S | re.I)
_DIRECTIVE = re.compile(
    r"^([ \t]*)\.\. (?:code|code-block|sourcecode)::[ \t]*(?:python|python3|py|pycon)[ \t]*\n"
    r"((?:[ \t]*\n|\1[ \t]+[^\n]*\n?)+)",
    re.M | re.I,
)
_OPTION = re.compile(r"\A(?:[ \t]*:\w+:[^\n]*\n)+")


def blocks(content: str) -> Iterator[str]:
    """Yield the Python code blocks of a text in Markdown or reStructuredText, prompts taken off."""
    found = [(m.start(), m.group(3)) for m in _FENCE.finditer(content)]
    found += [(m.start(), _OPTION.sub("", m.group(2))) for m in _DIRECTIVE.finditer(content)]
    for _, block in sorted(found):
        code = textwrap.dedent(block).strip("\n")
        yield _without_prompts(code) if code.lstrip().startswith(">>>") else code
    fenced = re.compile(r"^[ \t]*>>> ", re.M)
    rest = _DIRECTIVE.sub("\n", _FENCE.sub("\n", content))
    if fenced.search(rest):
        yield _without_prompts(rest)


def _without_prompts(content: str) -> str:
    try:
        return "".join(e.source for e in doctest.DocTestParser().get_examples(content))
    except ValueError:  # of inconsistent indentation: nothing that could be run
        return ""


def find_examples(
    index: SourceIndex,
    slicer: Slicer,
    classes: Sequence[ModuleClass],
    owners: Mapping[int, Sequence[str]],
    texts: Sequence[tuple[str, str]],
) -> list[Program]:
    """Return the examples that call a mined class, or a function that builds one.

    Args:
        index: The source.
        slicer: Its slicer.
        classes: The mined classes.
        owners: Their names by the `id` of the statement that defines them.
        texts: `(name, content)` of the source's README or long description.
    """
    tops = sorted({name.split(".")[0] for name in index.files})
    found: dict[str, IndexedFile | None] = {}
    for _, content in texts:
        found |= {code: None for code in blocks(content) if code not in found}
    for cls in classes:
        doc = docstring(cls.node, clean=False)
        found |= {code: cls.file for code in blocks(doc) if code not in found}
    programs: list[Program] = []
    for code, home in found.items():
        if compiles(code):
            top = home.name.split(".")[0] if home is not None else _top(code, tops)
            program = _program(index, slicer, owners, f"{top}.__example__.{len(programs)}", code, home)
            programs += [program] if program is not None else []
    return programs


def _top(code: str, tops: Sequence[str]) -> str:
    """Return the package of the source that a block imports, else the first one."""
    return next((t for t in tops if re.search(rf"^\s*(?:from|import)\s+{re.escape(t)}\b", code, re.M)), tops[0])


def _program(
    index: SourceIndex,
    slicer: Slicer,
    owners: Mapping[int, Sequence[str]],
    name: str,
    code: str,
    home: IndexedFile | None,
) -> Program | None:
    file = _file(name, code)
    lines = _missing_imports(index, file, home)
    if lines:
        file = _file(name, "\n".join([*lines, code]))
    if not _builds(index, slicer, owners, file):
        return None
    cut = slicer.cut_file(file)
    return Program(
        name=name,
        kind="example",
        module=name,
        files=cut.files,
        classes=classes_in(cut, owners),
        third_party=cut.third_party,
    )


def _file(name: str, code: str) -> IndexedFile:
    return IndexedFile(SourceFile(name, False, "", code.encode()))


def _missing_imports(index: SourceIndex, file: IndexedFile, home: IndexedFile | None) -> list[str]:
    """Return import lines for names that an example uses but does not bind.

    They are found as the file of the documented class knows them, then as the only definition of that name in the
    source, then as a package that the source imports.
    """
    roots = {dotted.split(".")[0] for s in file.statements for dotted in s.needs}
    lines = []
    for root in sorted(root for root in roots if root not in file.binders and not hasattr(builtins, root)):
        owners = index.definers.get(root, [])
        if home is not None and index.provides(home, root):
            lines.append(_import_as_in(home, root))
        elif len(owners) == 1:
            lines.append(f"from {owners[0]} import {root}")
        elif root in sys.stdlib_module_names or root in index.packages:
            lines.append(f"import {root}")
    return lines


def _import_as_in(home: IndexedFile, name: str) -> str:
    """Return the import by which a file has a name, or one of the name from that file."""
    for statement in home.binders.get(name, []):
        for item in statement.imports if statement.is_import else ():
            if item.bound == name:
                return import_lines(frozenset({replace(item, module=home.absolute(item), level=0)}))
    return f"from {home.name} import {name}"


def _builds(index: SourceIndex, slicer: Slicer, owners: Mapping[int, Sequence[str]], file: IndexedFile) -> bool:
    """Return whether an example calls a mined class, or a function of the source that needs one."""
    for node in (n for s in file.statements for n in walk(s.node) if n.type == "call"):
        function = field(node, "function")
        dotted = chain(function) if function is not None else None
        for found in index.resolve(file, dotted) if dotted is not None else ():
            if found.statement is None or found.file is None or found.file is file:
                continue
            if id(found.statement) in owners:
                return True
            label = found.name[len(found.file.name) + 1 :].split(".")[0]
            if classes_in(slicer.cut(found.file, [label]), owners):
                return True
    return False
