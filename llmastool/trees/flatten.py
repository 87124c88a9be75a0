"""The files of several bundles as one flat piece of source that means the same.

Statements are kept as they were written, comments and layout included, in the order in which Python would execute them
were the files imported: a file's own statements stand where it is first imported. An import between the files goes;
the name that it brought is then the name itself. Where two files have different things of one name, one is renamed, by
scope analysis. A file that cannot be made flat with certainty keeps a namespace of its own (see `boxing`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmastool.trees.boxing import has_future, reason_to_box
from llmastool.trees.naming import Names, Outside, Own, Symbol, View, outside
from llmastool.trees.scopes import bound_name
from llmastool.trees.spans import Edit, NotEditableError, Text, indented, rename
from llmastool.trees.units import Chunk, ImportNode, Item, Source, Unit, can_fail, reaches


@dataclass(frozen=True, kw_only=True)
class Flat:
    """The flat source, part by part, and the names in it."""

    names: Names
    imports: frozenset[Outside]
    """Imports of other packages that go to the top."""
    plain_imports: frozenset[str]
    """Modules to import for their effect, e.g. `torch.utils.checkpoint`."""
    future: bool
    """Whether annotations are not to be evaluated."""
    helpers: frozenset[str]
    """Helpers that the body needs, by name."""
    views: str
    """Source of the module objects."""
    body: str
    """Source of the sliced files."""
    boxed: dict[Unit, str]
    """Files that keep a namespace of their own, and why."""


def flatten(sources: Sequence[Source], roots: Sequence[Unit], first: Sequence[Symbol]) -> Flat:
    """Make the files of sources flat, so far as the roots lead to them.

    Args:
        sources: the merged sources.
        roots: the files to execute, in order.
        first: symbols that keep their names where names clash.
    """
    units = [unit for source in sources for unit in source.units.values()]
    boxed: dict[Unit, str] = {}
    while True:
        try:
            return _Flattener(units, boxed, first).run(roots)
        except _BoxNeeded as need:
            boxed = {**boxed, need.unit: need.reason}


class _BoxNeeded(Exception):  # noqa: N818 - a turn of the search for what can be made flat
    def __init__(self, unit: Unit, reason: str) -> None:
        self.unit, self.reason = unit, reason


class _Flattener:
    def __init__(self, units: Sequence[Unit], boxed: dict[Unit, str], first: Sequence[Symbol]) -> None:
        self.units, self.boxed = units, boxed
        self.names = Names(units, boxed, first)
        self.future = any(has_future(unit) for unit in units if unit not in boxed)
        self.imports: set[Outside] = set()
        self.plain: set[str] = set()
        self.helpers: set[str] = set()
        self.views: dict[View, str] = {}
        self.out: list[str] = []
        self.section: Unit | None = None
        """File whose statements are now written."""
        self.begun: set[Unit] = set()
        self.running: set[Unit] = set()
        self.later: list[Unit] = []
        self.guarded = False
        """Whether the statements now written stand inside a `try`, so that imports must stay where they are."""

    def run(self, roots: Sequence[Unit]) -> Flat:
        for unit in roots:
            self._execute(unit.source, unit.name)
        while self.later:
            self._apart(self.later.pop(0))
        return Flat(
            names=self.names,
            imports=frozenset(self.imports),
            plain_imports=frozenset(self.plain),
            future=self.future,
            helpers=frozenset(self.helpers),
            views="\n".join(self.views.values()),
            body="\n".join(self.out),
            boxed=self.boxed,
        )

    def _execute(self, source: Source, name: str) -> None:
        """Write out a file where it is first imported, its packages before it."""
        parts = name.split(".")
        for cut in range(1, len(parts) + 1):
            unit = source.units.get(".".join(parts[:cut]))
            if unit is None or unit in self.begun:
                continue
            self.begun.add(unit)
            self.running.add(unit)
            if unit in self.boxed:
                self._box(unit)
            else:
                self._unit(unit)
            self.running.discard(unit)

    def _unit(self, unit: Unit) -> None:
        renames = self.names.renames(unit)
        reason = reason_to_box(unit, bool(renames), self.future)
        if reason:
            raise _BoxNeeded(unit, reason)
        for chunk in unit.chunks:
            text = self._import_chunk(unit, chunk) if chunk.is_import else self._chunk(unit, chunk)
            if text:
                self._write(unit, _spaced(chunk, text))

    def _write(self, unit: Unit, text: str) -> None:
        if self.section is not unit:
            self.out.append(f"\n\n# {unit.path}" + ("" if text.startswith("\n") else "\n"))
            self.section = unit
        self.out.append(text)

    def _import_chunk(self, unit: Unit, chunk: Chunk) -> str:
        """Return what is left of a top-level import; what other packages give goes to the top of the file."""
        lines: list[str] = []
        for node in chunk.tree.body:
            assert isinstance(node, ImportNode)
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                continue
            if unit.source.owns(node):
                for name in unit.source.modules(unit, node):
                    self._execute(unit.source, name)
                for item in unit.source.items(unit, node):
                    lines.extend(self._top_item(unit, item))
            lines.extend(line for alias in _foreign(unit, node) for line in self._top_import(unit, node, alias))
        return "\n".join(lines)

    def _top_item(self, unit: Unit, item: Item) -> Iterator[str]:
        symbol = self.names.symbol(unit, item.bound)
        if item.missing:
            yield f"raise {item.missing}"
        elif item.unit is None:
            self._view(View(unit.source, item.name))
            if isinstance(symbol, Own):
                yield f"{self.names.give(symbol)} = {self.names.give(View(unit.source, item.name))}"
        elif symbol == Own(unit, item.bound):
            yield f"{self.names.give(symbol)} = {self.names.expression(item.unit, item.name)}"

    def _top_import(self, unit: Unit, node: ImportNode, alias: ast.alias) -> Iterator[str]:
        bound = bound_name(alias, node)
        symbol, thing = self.names.symbol(unit, bound), outside(node, alias)
        if symbol == thing and not self.guarded:
            self.imports.add(thing)
            if isinstance(node, ast.Import) and alias.name != thing.module:
                self.plain.add(alias.name)
            return
        flat = self.names.give(symbol)
        if isinstance(node, ast.Import) and alias.asname is None and "." in alias.name:
            if flat != bound:
                raise _BoxNeeded(unit, f"it imports {alias.name} under the name {bound}, which another file binds too")
            yield f"import {alias.name}"
        else:
            yield import_line(thing, flat)

    def _chunk(self, unit: Unit, chunk: Chunk) -> str:
        """Return a statement with its names as in the flat file and its imports of the source itself replaced."""
        try:
            text = rename(chunk.text, self.names.renames(unit))
        except NotEditableError as error:
            raise _BoxNeeded(unit, str(error)) from None
        return self._inner_imports(unit, text)

    def _inner_imports(self, unit: Unit, text: str) -> str:
        source, edits = Text(text), list[Edit]()
        for node, kind in _imports(ast.parse(text), "plain"):
            if not unit.source.owns(node):
                continue
            start, end = source.span(node)
            if kind == "typing":
                edits.append((start, end, "pass"))
                continue
            indent = source.indent(node) if kind == "plain" and unit not in self.boxed else None
            before = "".join(self._needed(unit, name, kind, indent) for name in unit.source.modules(unit, node))
            new = [self._inner_item(unit, node, item) for item in unit.source.items(unit, node)]
            new += [ast.unparse(ast.Import([alias])) for alias in _foreign(unit, node)]
            edits.append((start, end, before + "; ".join(new or ["pass"])))
        return source.edited(edits)

    def _inner_item(self, unit: Unit, node: ImportNode, item: Item) -> str:
        if item.missing:
            return f"raise {item.missing}"
        self.helpers.add("_imported")
        view = View(unit.source, item.name)
        flat = self.names.expression(item.unit, item.name) if item.unit is not None else self._view(view)
        star = node.names[0].name == "*" and unit not in self.boxed
        return f'{self.names.expression(unit, item.bound) if star else item.bound} = _imported("{flat}")'

    def _needed(self, unit: Unit, name: str, kind: str, indent: int | None) -> str:
        """See to it that a module that an inner import names is executed; return what has to stand right before it."""
        target = unit.source.units.get(name)
        if target is None or target in self.begun:
            return ""
        if kind == "lazy":
            if any(reaches(target, running) for running in self.running):
                self.later.append(target)
            else:
                self._apart(target)
        elif indent is None or not can_fail(target):
            self._execute(unit.source, name)
        else:
            return indented(self._guarded(target), indent).lstrip(" ") + "\n" + " " * indent
        return ""

    def _apart(self, unit: Unit) -> None:
        """Write out a file that only a function imports; the function finds it missing should it fail."""
        if unit in self.begun:
            return
        if can_fail(unit):
            inner = indented(self._guarded(unit), 4)
            self.out.append(f"\n\ntry:\n{inner}\nexcept ImportError:\n    pass  # what imports it will find out")
            self.section = None
        else:
            self._execute(unit.source, unit.name)

    def _guarded(self, unit: Unit) -> str:
        """Return a file, and what it needs, as text that is to stand inside a `try`."""
        state = self.out, self.section, self.guarded
        self.out, self.section, self.guarded = [], None, True
        self._execute(unit.source, unit.name)
        text = "\n".join(self.out).strip("\n")
        self.out, self.section, self.guarded = state
        return text or "pass"

    def _view(self, view: View) -> str:
        """Return the name of a module object, which is made where it is first asked for."""
        flat = self.names.give(view)
        unit = view.source.units.get(view.name)
        if view in self.views or unit in self.boxed:
            return flat
        self.views[view] = ""  # stops a package and its module from going round in circles
        self.helpers.add("_Module")
        below = [n for n in sorted(view.source.known) if n.rpartition(".")[0] == view.name]
        shown = {n.rpartition(".")[2]: self._view(View(view.source, n)) for n in below}
        if unit is not None:
            shown |= {name: self.names.expression(unit, name) for name in sorted(unit.names)}
        pairs = ", ".join(f'{name}="{inner}"' for name, inner in shown.items())
        self.views[view] = f"{flat} = _Module({pairs})"
        return flat

    def _box(self, unit: Unit) -> None:
        """Write out a file as text that is executed in a namespace of its own."""
        texts = [_spaced(chunk, self._inner_imports(unit, chunk.text)) for chunk in unit.chunks]
        self.helpers.update(("_run_module", "_imported"))
        flat = self.names.give(View(unit.source, unit.name))
        body = "\n".join(texts).lstrip("\n") + "\n"
        quoted = f"r'''\n{body}'''" if "'''" not in body and not body.rstrip("\n").endswith(("\\", "'")) else repr(body)
        self._write(unit, f"# It keeps a namespace of its own, because {self.boxed[unit]}.")
        self._write(unit, f'{flat} = _run_module("{unit.name}", {quoted})')


def import_line(thing: Outside, flat: str) -> str:
    """Return an import of another package's thing under a name."""
    if thing.name:
        return f"from {thing.module} import {thing.name}" + (f" as {flat}" if flat != thing.name else "")
    package, _, last = thing.module.rpartition(".")
    if package and flat == last:
        return f"from {package} import {last}"
    return f"import {thing.module}" + (f" as {flat}" if flat != thing.module else "")


def _foreign(unit: Unit, node: ImportNode) -> list[ast.alias]:
    """Return the items of an import that are not of the source itself."""
    if isinstance(node, ast.ImportFrom):
        return [] if unit.source.owns(node) else node.names
    return [alias for alias in node.names if alias.name.split(".")[0] not in unit.source.known]


def _imports(node: ast.AST, kind: str) -> Iterator[tuple[ImportNode, str]]:
    """Yield the imports within a node: `plain`, `lazy` inside a function, `typing` where they never run."""
    if isinstance(node, ImportNode):
        yield node, kind
        return
    inner = "lazy" if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and kind == "plain" else kind
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        yield from (found for child in node.body for found in _imports(child, "typing"))
        yield from (found for child in node.orelse for found in _imports(child, inner))
        return
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, inner)


def _spaced(chunk: Chunk, text: str) -> str:
    """Put two empty lines before a definition, as is the custom."""
    defines = any(isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for n in chunk.tree.body)
    return f"\n\n{text}" if defines else text
