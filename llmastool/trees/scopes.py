"""Which names in a piece of Python are those of its module: scope analysis over `ast`, by Python's own rules.

Attributes, keyword names and strings are no names. Names that a function or a comprehension binds are its own; names
that a class body has bound are its own there, but not in its methods.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

Function = ast.FunctionDef | ast.AsyncFunctionDef
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Use:
    """A place where a module's name is read, bound or deleted."""

    name: str
    node: ast.AST
    """The `Name`, or the statement, handler, pattern or `alias` that holds the name as text."""
    binds: bool
    """Whether it binds or deletes the name."""
    inside: bool
    """Whether it stands in a function, and so is not executed with the module."""


@dataclass
class _Scope:
    kind: str
    """`module`, `class` or `function`; comprehensions and lambdas are functions."""
    parent: _Scope | None = None
    bound: set[str] = field(default_factory=set)
    """Of a class: what its body has bound so far."""
    declared: set[str] = field(default_factory=set)
    """Names declared `global`."""

    @property
    def inside(self) -> bool:
        return self.kind == "function" or (self.parent is not None and self.parent.inside)


def module_uses(tree: ast.AST) -> list[Use]:
    """Return every use of a name of the module, in the order of evaluation as far as it is static."""
    visitor = _Visitor()
    visitor.visit(tree)
    return visitor.uses


def bound_name(alias: ast.alias, node: ast.Import | ast.ImportFrom) -> str:
    """Return the name that one item of an import binds; `*` for all."""
    if alias.asname is not None:
        return alias.asname
    return alias.name if isinstance(node, ast.ImportFrom) else alias.name.split(".")[0]


class _Visitor(ast.NodeVisitor):
    def __init__(self) -> None:
        self.uses: list[Use] = []
        self.scope = _Scope("module")

    def _is_global(self, name: str) -> bool:
        scope: _Scope | None = self.scope
        while scope is not None and scope.kind != "module":
            if scope.kind == "function" or scope is self.scope:
                if name in scope.declared:
                    return True
                if name in scope.bound:
                    return False
            scope = scope.parent
        return True

    def _use(self, name: str, node: ast.AST, binds: bool) -> None:
        own = self.scope.kind == "class" and binds and name not in self.scope.declared
        if own:
            self.scope.bound.add(name)
        elif self._is_global(name):
            self.uses.append(Use(name, node, binds, self.scope.inside))

    def _within(self, scope: _Scope, nodes: Iterable[ast.AST | None]) -> None:
        outer, self.scope = self.scope, scope
        for node in nodes:
            if node is not None:
                self.visit(node)
        self.scope = outer

    def _visit_all(self, nodes: Iterable[ast.AST | None]) -> None:
        self._within(self.scope, nodes)

    def visit_Name(self, node: ast.Name) -> None:
        self._use(node.id, node, not isinstance(node.ctx, ast.Load))

    def visit_Assign(self, node: ast.Assign) -> None:
        self._visit_all([node.value, *node.targets])  # what is assigned is read before the target is bound

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._visit_all([node.value, node.annotation, node.target])

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._visit_all([node.value, node.target])

    def visit_For(self, node: ast.For) -> None:
        self._visit_all([node.iter, node.target, *node.body, *node.orelse])

    def visit_Global(self, node: ast.Global) -> None:
        for name in node.names:
            self.scope.declared.add(name)
            self.uses.append(Use(name, node, False, self.scope.inside))

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name != "*":
                self._use(bound_name(alias, node), alias, True)

    visit_ImportFrom = visit_Import  # noqa: N815

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self._visit_all([node.type])
        if node.name is not None:
            self._use(node.name, node, True)
        self._visit_all(node.body)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        if node.name is not None:
            self._use(node.name, node, True)
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs  # noqa: N815

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest is not None:
            self._use(node.rest, node, True)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: Function) -> None:
        self._visit_all(node.decorator_list)
        self._function(node, [node.returns], node.body)
        self._use(node.name, node, True)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._function(node, [], [node.body])

    def _function(self, node: Function | ast.Lambda, around: Sequence[ast.AST | None], body: Sequence[ast.AST]) -> None:
        """Defaults and annotations belong to the scope around, the body to the function's."""
        spec = node.args
        arguments = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *filter(None, (spec.vararg, spec.kwarg))]
        self._visit_all([*spec.defaults, *spec.kw_defaults])
        around_scope = self._type_scope(node)
        self._within(around_scope, [*(a.annotation for a in arguments), *around])
        scope = _Scope("function", around_scope)
        declared = {name for item in body for name in _declared(item)}
        scope.bound = {a.arg for a in arguments} | {name for item in body for name in _binds(item)}
        scope.bound -= declared
        self._within(scope, body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all(node.decorator_list)
        around = self._type_scope(node)
        self._within(around, [*node.bases, *node.keywords])
        self._within(_Scope("class", around), node.body)
        self._use(node.name, node, True)

    def _type_scope(self, node: ast.AST) -> _Scope:
        """Return the scope of the type parameters, which Python 3.12 and later have, or else the one around."""
        parameters = getattr(node, "type_params", [])
        if not parameters:
            return self.scope
        scope = _Scope("function", self.scope, {p.name for p in parameters})
        self._within(scope, [getattr(p, "bound", None) for p in parameters])
        return scope

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        """The first iterable belongs to the scope around."""
        first, *others = node.generators
        self._visit_all([first.iter])
        scope = _Scope("function", self.scope, {name for g in node.generators for name in _targets(g.target)})
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        rest = [part for g in others for part in (g.iter, *g.ifs)]
        self._within(scope, [*(g.target for g in node.generators), *first.ifs, *rest, *results])

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension  # noqa: N815


def _targets(node: ast.AST) -> Iterator[str]:
    for item in ast.walk(node):
        if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store):
            yield item.id


def _binds(node: ast.AST) -> Iterator[str]:
    """Yield what a statement binds in the function in which it stands; nested scopes bind their own."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name
            return
        case ast.Lambda():
            return
        case ast.Name(ctx=ast.Store() | ast.Del()):
            yield node.id
        case ast.Import() | ast.ImportFrom():
            yield from (bound_name(alias, node) for alias in node.names)
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name
        case ast.MatchMapping(rest=str(name)):
            yield name
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            # Only `:=` binds outside of a comprehension.
            for item in ast.walk(node):
                if isinstance(item, ast.NamedExpr):
                    yield from _targets(item.target)
            return
    for child in ast.iter_child_nodes(node):
        yield from _binds(child)


def _declared(node: ast.AST) -> Iterator[str]:
    """Yield the names that a statement declares global in the function in which it stands."""
    if isinstance(node, ast.Global):
        yield from node.names
    elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
        for child in ast.iter_child_nodes(node):
            yield from _declared(child)
