"""Which bundles are the same but for names, comments and places: the judge's own reading of a structural duplicate."""

from __future__ import annotations

import ast
import hashlib

from llmastool.mining.bundle import Bundle


def structure(bundle: Bundle) -> str:
    """Return a hash that is equal for slices that differ in names that they define, documentation and layout only."""
    bodies = []
    own = {f.name.split(".")[0] for f in bundle.files}
    for file in sorted(bundle.files, key=lambda f: (f.name != bundle.module, len(f.text), f.text)):
        body = ast.parse(file.text).body
        bodies.append([s for s in body if not _internal(s, own)])
    renamed = _Renamer()
    parts = [ast.dump(renamed.visit(statement)) for body in bodies for statement in body]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _internal(statement: ast.stmt, own: set[str]) -> bool:
    """Return whether a statement only imports from the source itself."""
    if isinstance(statement, ast.ImportFrom):
        return bool(statement.level) or (statement.module or "").split(".")[0] in own
    return isinstance(statement, ast.Import) and all(a.name.split(".")[0] in own for a in statement.names)


class _Renamer(ast.NodeTransformer):
    """Numbers names as they appear, drops annotations and docstrings; attributes stay, as they name what torch has."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def _new(self, name: str) -> str:
        return self.known.setdefault(name, f"n{len(self.known)}")

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._new(node.id)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.arg, node.annotation = self._new(node.arg), None
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        self.generic_visit(node)
        if node.arg in self.known:
            node.arg = self.known[node.arg]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        return ast.Assign([node.target], node.value) if node.value is not None else None

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._defined(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self._defined(node)

    def _defined(self, node: ast.ClassDef | ast.FunctionDef) -> ast.AST:
        if not node.name.startswith("__") and node.name != "forward":
            node.name = self._new(node.name)
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and len(node.body) > 1:
            node.body = node.body[1:]
        self.generic_visit(node)
        return node
