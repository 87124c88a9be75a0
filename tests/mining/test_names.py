"""Names bound and needed, by Python's scope rules."""

import pytest
import tree_sitter_python
from tree_sitter import Language, Node, Parser

from llmastool.mining.imports import Import, import_lines, imports_of
from llmastool.mining.names import binds, needs

PARSER = Parser(Language(tree_sitter_python.language()))


def statement(source: str) -> Node:
    return PARSER.parse(source.encode()).root_node.named_children[0]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(a, b=DEFAULT, *c, d: Ann = 1, **e) -> Ret:\n    x = a + b + other\n    return x", {"DEFAULT", "Ann", "Ret", "other"}),
        ("class A(Base[T], metaclass=Meta):\n    y = z\n    def f(self):\n        return y", {"Base", "T", "Meta", "z", "y"}),
        ("@deco(arg)\ndef f(): pass", {"deco", "arg"}),
        ("f = lambda a, b=q: a + b + c", {"q", "c"}),
        ("x = [i * k for i in xs if i > t]", {"k", "xs", "t"}),
        ("def f():\n    global g\n    g = 1\n    return g", {"g"}),
        ("def f():\n    import math\n    return math.sin(np.pi)", {"np.pi"}),
        ("def f():\n    with open(p) as h:\n        return h.read()", {"open", "p"}),
        ("def f():\n    try:\n        pass\n    except Err as e:\n        raise Other from e", {"Err", "Other"}),
        ("def f():\n    for i, (j, k) in pairs:\n        yield i, j, k", {"pairs"}),
        ("def f():\n    if (n := g()) > 1:\n        return n", {"g"}),
        ("x = f'{a.b!r} {c:>{w}}'", {"a.b", "c", "w"}),
        ("call(key=value, other=nn.ReLU)", {"call", "value", "nn.ReLU"}),
        ("x = a.b.c(d).e", {"a.b.c", "d"}),
        ("y = [x for x in x for z in w(x)]", {"x", "w"}),
        ("def f():\n    x: Unused = a\n    self.y: Unused = b\n    return x", {"a", "self.y", "b"}),
        ("class A:\n    x: Used = 1", {"Used", "x"}),
        ("x = getattr(blocks, 'Wide', default)", {"blocks.Wide", "default"}),
        ("x = getattr(blocks, name)", {"getattr", "blocks", "name"}),
        ("match x:\n    case nn.Linear(): pass", {"x", "nn.Linear"}),
    ],
)  # fmt: skip
def test_needs(source: str, expected: set[str]) -> None:
    node = statement(source)
    assert needs(node) - set(binds(node)) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x, (y, *z) = 1, (2, 3)", {"x", "y", "z"}),
        ("x.y = 1", set()),
        ("x[0]: int = 1", set()),
        ("if a:\n    b = 1\nelse:\n    def c(): d = 1", {"b", "c"}),
        ("for i in xs:\n    j = i", {"i", "j"}),
        ("try:\n    import a.b\nexcept ImportError:\n    a = None", {"a"}),
        ("from .m import p, q as r", {"p", "r"}),
        ("with f() as g: pass", {"g"}),
        ("x = [y for y in z]", set()),
        ("x = [w := y for y in z]", {"x", "w"}),
    ],
)
def test_binds(source: str, expected: set[str]) -> None:
    found = set(binds(statement(source)))
    assert found == expected or found == expected | {"x"}


def test_imports_under_type_checking_are_guarded_but_their_else_is_not() -> None:
    found = list(imports_of(statement("if TYPE_CHECKING:\n    from a import B\nelse:\n    from c import B")))
    assert [(i.module, i.guarded) for i in found] == [("a", True), ("c", False)]


def test_relative_imports_keep_their_level() -> None:
    (item,) = imports_of(statement("from ..pkg.mod import name as alias"))
    assert (item.module, item.level, item.name, item.bound) == ("pkg.mod", 2, "name", "alias")


@pytest.mark.parametrize(
    ("source", "eager", "lazy"),
    [
        ("def f(a: A = d, *b: B, **c: C) -> R: pass", {"A", "B", "C", "R", "d"}, {"d"}),
        ("class K:\n    def f(self, a: A): pass", {"A"}, set()),
        ("class K:\n    x: A\n    @property\n    def f(self) -> B: pass", {"A", "B", "x", "property"}, {"A", "x", "property"}),
        ("@deco\ndef f(a: A): pass", {"deco", "A"}, {"deco", "A"}),
    ],
)  # fmt: skip
def test_annotations_that_are_never_evaluated_are_not_needed(source: str, eager: set[str], lazy: set[str]) -> None:
    assert needs(statement(source)) == eager
    assert needs(statement(source), lazy=True) == lazy


def test_depth_of_code_is_not_depth_of_recursion() -> None:
    deep = "x = " + "+".join(["a"] * 20_000)
    assert needs(statement(deep)) == {"x", "a"}
    assert set(binds(statement(deep))) == {"x"}
    assert needs(statement("x = y" + ".z()" * 20_000)) == {"x", "y.z"}
    nested = "x = " + "lambda a: " * 2_000 + "a + b"
    assert needs(statement(nested)) == {"x", "b"}


def test_not_type_checking_runs_and_its_else_does_not() -> None:
    found = list(imports_of(statement("if not TYPE_CHECKING:\n    import a\nelse:\n    import b")))
    assert [(i.module, i.guarded) for i in found] == [("a", False), ("b", True)]


def test_imports_are_written_a_line_for_each_module_and_wrapped() -> None:
    (first, second) = imports_of(statement("from .m import b, a as c"))
    star, plain = Import("n", 0, "*", ""), Import("os.path", 0, None, "os")
    aliased = Import("os.path", 0, None, "p")
    expected = "import os.path\nimport os.path as p\nfrom .m import a as c, b\nfrom n import *"
    assert import_lines(frozenset({first, second, star, plain, aliased})) == expected
    many = frozenset(Import("module", 0, f"a_rather_long_name_{i}", f"a_rather_long_name_{i}") for i in range(20))
    lines = import_lines(many).splitlines()
    assert len(lines) > 1
    assert all(len(line) <= 120 and line.startswith("from module import ") for line in lines)
