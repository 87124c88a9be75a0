from __future__ import annotations

import ast

import pytest

from llmastool.trees.spans import NotEditableError, indented, rename

INNER = "def f():\n    def g():\n        nonlocal x\n        x = 2\n    x = 1"


def renamed(text: str) -> str:
    return rename(text, {"x": "x_2"})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("y = x + a.x + f(x=x) + 'x'  # x", "y = x_2 + a.x + f(x=x_2) + 'x'  # x"),
        ("def f(x, y=x): return x", "def f(x, y=x_2): return x"),
        ("def f():\n    x = 1\n    return lambda: x", "def f():\n    x = 1\n    return lambda: x"),
        ("def f():\n    global x\n    x = 1", "def f():\n    global x_2\n    x_2 = 1"),
        ("def x(): return x()", "def x_2(): return x_2()"),
        ("@x\nclass x(x): pass", "@x_2\nclass x_2(x_2): pass"),
        ("class C:\n  x = x\n  y = x\n  def f(a): return x", "class C:\n  x = x_2\n  y = x\n  def f(a): return x_2"),
        ("z = [x for x in x]", "z = [x for x in x_2]"),
        ("z = [y for y in a if x]", "z = [y for y in a if x_2]"),
        ("def f(a: x) -> x: y: x = 1", "def f(a: x_2) -> x_2: y: x_2 = 1"),
        ("import x", "import x as x_2"),
        ("from m import (a, x)  # keep", "from m import (a, x as x_2)  # keep"),
        ("from m import b as x", "from m import b as x_2"),
        ("def f():\n    import x\n    return x", "def f():\n    import x\n    return x"),
        ("try:\n    pass\nexcept E as x:\n    x", "try:\n    pass\nexcept E as x_2:\n    x_2"),
        ("match a:\n    case {'k': x, **y}: x", "match a:\n    case {'k': x_2, **y}: x_2"),
        ("é = 'é'; x(é, x)", "é = 'é'; x_2(é, x_2)"),
        ("def f():\n    if (x := 1): pass\n    return x", "def f():\n    if (x := 1): pass\n    return x"),
        ("z = [(x := 1) for _ in a]", "z = [(x_2 := 1) for _ in a]"),
        (INNER, INNER),
        ("a = f'{x} x {y.x}'", "a = f'{x_2} x {y.x}'"),
        ("del x", "del x_2"),
        ("for x in x: pass", "for x_2 in x_2: pass"),
    ],
)  # fmt: skip
def test_only_the_names_of_the_module_change(before: str, after: str) -> None:
    assert renamed(before) == after
    ast.parse(after)


def test_what_cannot_be_renamed_is_refused() -> None:
    with pytest.raises(NotEditableError, match=r"imports x\.y under the name x"):
        renamed("import x.y")


def test_indenting_leaves_the_inside_of_strings_alone() -> None:
    text = 'def f():\n    """One.\n\n    Two.\n  """\n    return (1,\n  2)\n\na = "b"'
    moved = indented(text, 4)
    assert moved.splitlines()[0] == "    def f():" and '\n\n    Two.\n  """\n' in moved and "\n      2)\n" in moved
    first = ast.dump(ast.parse(text))
    assert ast.dump(ast.Module(ast.parse(f"if 1:\n{moved}").body[0].body, [])) == first  # type: ignore[attr-defined]
