"""Find the `nn.Module` classes of a source, through aliases, chains of bases and files; and read their signatures."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from tree_sitter import Node

from llmastool.mining.bundle import Parameter
from llmastool.mining.index import IndexedFile, SourceIndex, Statement
from llmastool.mining.names import chain, field, text

_NOT_MODULES = ("functional", "init", "utils", "parameter", "Parameter", "ParameterList", "ParameterDict")


@dataclass(frozen=True)
class ModuleClass:
    """A class that derives from `torch.nn.Module`."""

    file: IndexedFile
    statement: Statement
    """The top-level statement that defines it."""
    node: Node
    """Its `class_definition`."""
    qualname: str
    """Path within the module."""

    @property
    def name(self) -> str:
        """Absolute dotted name."""
        return f"{self.file.name}.{self.qualname}"

    @property
    def lines(self) -> tuple[int, int]:
        """First and last line in the file, from 1."""
        return self.node.start_point[0] + 1, self.node.end_point[0] + 1


class ClassFinder:
    """Finds module classes in an index."""

    def __init__(self, index: SourceIndex) -> None:
        self.index = index
        self._verdicts: dict[tuple[str, str], bool] = {}
        self._nodes: dict[tuple[str, str], Node] = {}

    def find(self) -> list[ModuleClass]:
        """Return every module class of the source, in the order of files and lines."""
        return [c for file in self.index.files.values() for c in self.find_in(file)]

    def find_in(self, file: IndexedFile) -> Iterator[ModuleClass]:
        """Yield the module classes of one file; of several definitions of one name, the last."""
        found: dict[str, ModuleClass] = {}
        for statement in file.statements:
            for qualname, node in _class_nodes(statement.node, ""):
                if self._derives(file, node, f"{file.name}.{qualname}"):
                    found[qualname] = ModuleClass(file, statement, node, qualname)
        yield from found.values()

    def _derives(self, file: IndexedFile, node: Node, name: str) -> bool:
        key = (file.name, f"{name}:{node.start_byte}")
        if key not in self._verdicts:
            self._verdicts[key] = False  # a class among its own bases is no module
            self._verdicts[key] = any(is_torch_module(b) for b, _, _ in self._ancestors(file, node, frozenset()))
        return self._verdicts[key]

    def _ancestors(
        self, file: IndexedFile, node: Node, seen: frozenset[str]
    ) -> Iterator[tuple[str, IndexedFile | None, Node | None]]:
        """Yield `(dotted name, file, class node)` of every base, near ones first; the latter two None if outside."""
        for base in _base_chains(node):
            for found in self.index.resolve(file, base):
                if found.name in seen:
                    continue
                if found.file is None or found.statement is None:
                    yield found.name, None, None
                    continue
                qualname = found.name[len(found.file.name) + 1 :]
                nodes = [n for q, n in _class_nodes(found.statement.node, "") if q == qualname]
                for parent in nodes:
                    yield found.name, found.file, parent
                    yield from self._ancestors(found.file, parent, seen | {found.name})

    def method(self, cls: ModuleClass, name: str) -> Node | None:
        """Return the definition of a method, the class's own or the nearest inherited one within the source."""
        nodes = [cls.node, *(n for _, _, n in self._ancestors(cls.file, cls.node, frozenset()) if n is not None)]
        for node in nodes:
            for method in _methods(node):
                label = field(method, "name")
                if label is not None and text(label) == name:
                    return method
        return None

    def has_forward(self, cls: ModuleClass) -> bool:
        """Return whether the class has a forward: its own, inherited, or of a `torch.nn` class other than `Module`."""
        if self.method(cls, "forward") is not None:
            return True
        bases = {b for b, _, _ in self._ancestors(cls.file, cls.node, frozenset())}
        plain = ("Module", "ModuleList", "ModuleDict")
        return any(is_torch_module(b) and b.split(".")[-1] not in plain for b in bases)


def is_torch_module(dotted: str) -> bool:
    """Return whether a dotted name is a module class of `torch.nn`, judged by its name."""
    parts = dotted.split(".")
    return parts[:2] == ["torch", "nn"] and parts[-1][:1].isupper() and not set(parts) & set(_NOT_MODULES)


def _class_nodes(node: Node, prefix: str) -> Iterator[tuple[str, Node]]:
    """Yield `(qualified name, node)` of the classes reachable as attributes of the module, nested ones included."""
    if node.type == "class_definition":
        name, body = field(node, "name"), field(node, "body")
        if name is None or body is None:
            return
        qualname = f"{prefix}{text(name)}"
        yield qualname, node
        for child in body.named_children:
            yield from _class_nodes(child, f"{qualname}.")
    elif node.type not in ("function_definition", "lambda", "expression_statement"):
        for child in node.named_children:
            yield from _class_nodes(child, prefix)


def _base_chains(node: Node) -> Iterator[str]:
    bases = field(node, "superclasses")
    for base in bases.named_children if bases is not None else ():
        inner = field(base, "value") if base.type == "subscript" else base
        name = chain(inner) if inner is not None and inner.type != "keyword_argument" else None
        if name is not None:
            yield name


def _methods(node: Node) -> Iterator[Node]:
    body = field(node, "body")
    for child in body.named_children if body is not None else ():
        inner = field(child, "definition") if child.type == "decorated_definition" else child
        if inner is not None and inner.type == "function_definition":
            yield inner


def parameters(method: Node | None) -> tuple[Parameter, ...]:
    """Return the parameters of a method as written, `self` left out."""
    listed = field(method, "parameters") if method is not None else None
    found: list[Parameter] = []
    keyword_only = False
    for node in listed.named_children if listed is not None else ():
        if node.type == "keyword_separator":
            keyword_only = True
        parameter = _parameter(node, keyword_only)
        if parameter is not None:
            keyword_only = keyword_only or parameter.kind == "var_positional"
            found.append(parameter)
    return tuple(found[1:])


def _parameter(node: Node, keyword_only: bool) -> Parameter | None:
    kinds = {"list_splat_pattern": "var_positional", "dictionary_splat_pattern": "var_keyword"}
    annotation, default = field(node, "type"), field(node, "value")
    label = field(node, "name") or (node.named_children[0] if node.named_children else node)
    if node.type in kinds:
        label = node
    if label.type not in ("identifier", *kinds):
        return None
    return Parameter(
        name=text(label).lstrip("*"),
        kind=kinds.get(label.type, "keyword" if keyword_only else "positional"),
        annotation=text(annotation) if annotation is not None else "",
        default=text(default) if default is not None else None,
    )


def docstring(node: Node) -> str:
    """Return a class's docstring, cleaned; empty when it has none."""
    body = field(node, "body")
    first = body.named_children[0] if body is not None and body.named_children else None
    if first is None or first.type != "expression_statement" or first.named_children[0].type != "string":
        return ""
    try:
        value = ast.literal_eval(text(first.named_children[0]))
    except (ValueError, SyntaxError):
        return ""
    return "\n".join(line.strip() for line in value.strip().splitlines()) if isinstance(value, str) else ""
