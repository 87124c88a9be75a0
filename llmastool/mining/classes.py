"""Find the `nn.Module` classes of a source, through aliases, chains of bases and files; and read their signatures."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from tree_sitter import Node

from llmastool.mining.bundle import Parameter
from llmastool.mining.index import SourceIndex
from llmastool.mining.nodes import chain, field, text
from llmastool.mining.parsed import IndexedFile
from llmastool.mining.statements import BLOCKS, Statement

_NOT_MODULES = ("functional", "init", "utils", "parameter", "Parameter", "ParameterList", "ParameterDict")
_HOLDERS = BLOCKS | {"block", "decorated_definition", "else_clause", "elif_clause", "except_clause", "finally_clause"}
"""Kinds of node that may hold a class definition in the scope of a module or class."""


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
        self._verdicts: dict[tuple[str, int], bool] = {}

    def find(self) -> list[ModuleClass]:
        """Return every module class of the source, in the order of files and lines."""
        return [c for file in self.index.files.values() for c in self.find_in(file)]

    def find_in(self, file: IndexedFile) -> Iterator[ModuleClass]:
        """Yield the module classes of one file; of several definitions of one name, the last."""
        found: dict[str, ModuleClass] = {}
        for statement in file.statements:
            for qualname, node in class_nodes(statement.node):
                if self._derives(file, node):
                    found[qualname] = ModuleClass(file, statement, node, qualname)
        yield from found.values()

    def _derives(self, file: IndexedFile, node: Node) -> bool:
        """Return whether a class derives from a module class; what is known of its ancestors is not asked again."""
        key = (file.name, node.start_byte)
        if key not in self._verdicts:
            self._verdicts[key] = False  # a class among its own bases is no module
            stack, seen = list(self._bases(file, node)), {key}
            while stack and not self._verdicts[key]:
                name, owner, parent = stack.pop()
                if owner is None or parent is None:
                    self._verdicts[key] = is_torch_module(name)
                    continue
                base = (owner.name, parent.start_byte)
                if base in self._verdicts:
                    self._verdicts[key] = self._verdicts[base]
                elif base not in seen:
                    stack.extend(self._bases(owner, parent))
                seen.add(base)
        return self._verdicts[key]

    def _ancestors(self, file: IndexedFile, node: Node) -> Iterator[tuple[str, IndexedFile | None, Node | None]]:
        """Yield `(dotted name, file, class node)` of every base, near ones first; the latter two None if outside."""
        seen: set[str] = set()
        stack = list(reversed(list(self._bases(file, node))))
        while stack:
            name, owner, parent = stack.pop()
            if owner is None or parent is None:
                yield name, None, None
            elif f"{name}:{parent.start_byte}" not in seen:
                seen.add(f"{name}:{parent.start_byte}")
                yield name, owner, parent
                stack.extend(reversed(list(self._bases(owner, parent))))

    def _bases(self, file: IndexedFile, node: Node) -> Iterator[tuple[str, IndexedFile | None, Node | None]]:
        for base in _base_chains(node):
            for found in self.index.resolve(file, base):
                if found.file is None or found.statement is None:
                    yield found.name, None, None
                    continue
                qualname = found.name[len(found.file.name) + 1 :]
                for name, parent in class_nodes(found.statement.node):
                    if name == qualname:
                        yield found.name, found.file, parent

    def method(self, cls: ModuleClass, name: str) -> Node | None:
        """Return the definition of a method, the class's own or the nearest inherited one within the source."""
        nodes = [cls.node, *(n for _, _, n in self._ancestors(cls.file, cls.node) if n is not None)]
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
        bases = {b for b, _, _ in self._ancestors(cls.file, cls.node)}
        plain = ("Module", "ModuleList", "ModuleDict")
        return any(is_torch_module(b) and b.split(".")[-1] not in plain for b in bases)


def is_torch_module(dotted: str) -> bool:
    """Return whether a dotted name is a module class of `torch.nn`, judged by its name."""
    parts = dotted.split(".")
    return parts[:2] == ["torch", "nn"] and parts[-1][:1].isupper() and not set(parts) & set(_NOT_MODULES)


def class_nodes(node: Node) -> Iterator[tuple[str, Node]]:
    """Yield `(qualified name, node)` of the classes reachable as attributes of the module, nested ones included."""
    stack = [(node, "")]
    while stack:
        node, prefix = stack.pop()
        name, body = field(node, "name"), field(node, "body")
        if node.type == "class_definition":
            if name is not None and body is not None:
                yield f"{prefix}{text(name)}", node
                stack.extend((child, f"{prefix}{text(name)}.") for child in reversed(body.named_children))
        elif node.type in _HOLDERS:
            stack.extend((child, prefix) for child in reversed(node.named_children))


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


def docstring(node: Node, *, clean: bool = True) -> str:
    """Return a class's docstring, every line stripped unless told otherwise; empty when it has none."""
    body = field(node, "body")
    statements = [c for c in body.named_children if c.type != "comment"] if body is not None else []
    first = statements[0] if statements and statements[0].type == "expression_statement" else None
    if first is None or first.named_children[0].type not in ("string", "concatenated_string"):
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes, in code that is not ours
            value = ast.literal_eval(text(first.named_children[0]))
    except (ValueError, SyntaxError):
        return ""
    if not isinstance(value, str):
        return ""
    return "\n".join(line.strip() for line in value.strip().splitlines()) if clean else value
