"""Ways in which code finds what it needs: each small source is mined, sliced, loaded alone and run."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from llmastool.mining.bundle import Bundle
from llmastool.mining.mine import Mined
from llmastool.registry.loading import load_bundle

NN = "import torch\nfrom torch import nn\n"


@dataclass(frozen=True)
class Case:
    """A source whose `net.main.Net` adds up to `value` when it is run on a one, and what its slice leaves out."""

    files: dict[str, str]
    value: float
    without: tuple[str, ...] = ()


def net(value: str, *, before: str = "", after: str = "", bases: str = "nn.Module", decorators: str = "") -> str:
    return f"{NN}{before}\n{decorators}class Net({bases}):\n    def forward(self, x):\n        return x * {value}\n{after}\n"


CASES = {
    "aliases of modules and names": Case(
        {"main.py": net("h.two() + t()", before="from . import helpers as h\nfrom net.helpers import three as t\n"),
         "helpers.py": "def two(): return 2\ndef three(): return 3\ndef unused(): return 4\n"},
        5, ("unused",)),
    "modules of one name imported by their path": Case(
        {"main.py": net("net.a.helpers.f() + net.b.helpers.f()", before="import net.a.helpers\nimport net.b.helpers\n"),
         "a/__init__.py": "", "b/__init__.py": "", "a/helpers.py": "def f(): return 1\ndef unused(): pass\n",
         "b/helpers.py": "def f(): return 10\n"},
        11, ("unused",)),
    "relative imports over two levels": Case(
        {"main.py": net("f()", before="from .deep.er.mod import f\n"), "deep/__init__.py": "", "deep/er/__init__.py": "",
         "deep/er/mod.py": "from ...base import K\nfrom ..side import J\ndef f(): return K + J\n", "base.py": "K = 5\n",
         "deep/side.py": "J = 2\n"},
        7),
    "star imports of star imports": Case(
        {"main.py": net("f() + _g", before="from .one import *\nfrom .one import _g\n"), "one.py": "from .two import *\n_g = 1\n",
         "two.py": "def f(): return 2\ndef unused(): return 3\n"},
        3, ("unused", "import *")),
    "the later of two star imports wins": Case(
        {"main.py": net("f()", before="from .one import *\nfrom .two import *\n"), "one.py": "def f(): return 1\n",
         "two.py": "def f(): return 2\n"},
        2),
    "star imports in a circle": Case(
        {"main.py": net("f()", before="from .one import *\n"), "one.py": "from .two import *\n",
         "two.py": "from .one import *\ndef f(): return 2\n"},
        2),
    "a computed __all__": Case(
        {"main.py": net("_f() + g()", before="from .pack import *\n"), "pack/__init__.py":
         "from . import a\nfrom .a import *\nfrom .b import *\n__all__ = a.__all__ + ['g']\n__all__ += []\n",
         "pack/a.py": "__all__ = []\n__all__.append('_f')\ndef _f(): return 4\n", "pack/b.py": "def g(): return 1\n"},
        5),
    "an __all__ imported under another name": Case(
        {"main.py": net("pack.f() + _g()", before="from . import pack\nfrom .pack.a import *\n"),
         "pack/__init__.py": "from .a import *\n", "pack/a.py":
         "from .b import *\nfrom .b import __all__ as b_all\n__all__ = ['f'] + b_all\ndef f(): return 2\n",
         "pack/b.py": "__all__ = ['_g']\ndef _g(): return 3\n"},
        5),
    "a submodule that only its package loads": Case(
        {"main.py": net("net.ops.deep.f() + net.other.g()", before="import net\n"),
         "__init__.py": "from . import ops, unused\nfrom .other import h, g\n", "ops/__init__.py": "from net.ops import deep\n",
         "ops/deep.py": "def f(): return 2\ndef nobody(): pass\n", "unused.py": "", "other.py": "def g(): return 3\ndef h(): pass\n"},
        5, ("nobody", "unused", "def h")),
    "a call that works on its whole module": Case(
        {"main.py": net("is_old('x') + 2", before="from .reg import alias, is_old\n", after="alias(__name__, {'x': 'Gone'})\n"),
         "reg.py": "import sys\nOLD = {}\ndef alias(module, names):\n    for old, new in names.items():\n"
                   "        OLD[old] = getattr(sys.modules[module], new)\ndef is_old(n): return n in OLD\n"},
        2, ("alias(",)),
    "re-exports in __init__": Case(
        {"main.py": net("blocks.Two()()", before="from . import blocks\n"),
         "blocks/__init__.py": "from .two import Two\nfrom .three import Three\n",
         "blocks/two.py": "class Two:\n    def __call__(self): return 2\n", "blocks/three.py": "class Three: pass\n"},
        2, ("Three",)),
    "an import within a function": Case(
        {"main.py": net("(lambda: __import__ and late())()", before="def late():\n    from .late import k\n    return k()\n"),
         "late.py": "def k(): return 3\ndef unused(): pass\n"},
        3),
    "conditional imports": Case(
        {"main.py": net("(fast() + Path(2))", before=(
            "try:\n    from .fast import fast\nexcept ImportError:\n    fast = None\n"
            "if torch.__version__ < '0':\n    from .never import Path\nelif True:\n    from .now import Path\n")),
         "fast.py": "def fast(): return 1\n", "now.py": "def Path(x): return x\n", "never.py": "def Path(x): return -x\n"},
        3),
    "imports for type checkers only": Case(
        {"main.py": "from __future__ import annotations\nfrom typing import TYPE_CHECKING\n" + NN + (
            "if TYPE_CHECKING:\n    from .heavy import Heavy\n"
            "class Net(nn.Module):\n    def forward(self, x: Heavy) -> Heavy:\n        y: Heavy = x\n        return y * 6\n"),
         "heavy.py": "import nothing_of_that_name\nclass Heavy: pass\n"},
        6, ("class Heavy", "nothing_of_that_name")),
    "constants changed later": Case(
        {"main.py": net("TABLE['a'] + TABLE['b'] + sum(LIST) + box.v + TABLE['k1']", before=(
            "TABLE = {'a': 1}\nLIST = []\nOTHER = {}\nclass Box: v = 0\nbox = Box()\n"
            "TABLE['b'] = 2\nLIST.append(3)\nOTHER['x'] = 1\nbox.v = 4\n"
            "for n in (1, 2):\n    TABLE[f'k{n}'] = 10 * n\n"
            "if LIST:\n    LIST.append(100)\n"))},
        1 + 2 + 103 + 4 + 10, ("OTHER",)),
    "constants made in steps": Case(
        {"main.py": net("SUM", before="SUM = 1\nSUM += 2\nSUM = SUM * 2\n(A, *B), C = (1, 2), 3\nUNUSED = C\n")}, 6, ("UNUSED",)),
    "a function that sets what it is given": Case(
        {"main.py": net("config.a + 1", before=(
            "class Config: pass\nconfig = Config()\ndef fill(c):\n    c.a = 2\ndef unrelated(c): pass\n"
            "fill(config)\nelse_ = Config()\n"))},
        3, ("else_", "unrelated")),
    "calls on what other calls brought": Case(
        {"main.py": net("a.v", before=(
            "class Box: v = 1\na = Box()\nb = Box()\nc = Box()\ndef link(x, y): x.v += y.v\ndef tie(x): x.v += b.v\n"
            "def pull(x): x.v *= 2\ntie(a)\npull(b)\nlink(a, b)\nlink(a, c)\n"))},
        1 + 1 + 2, ("link(a, c)",)),
    "the same name twice": Case(
        {"main.py": net("f()", before="def f(): return 1\ndef f(): return f1() + 1\ndef f1(): return 4\n")}, 5),
    "a registry that nobody reads": Case(
        {"main.py": net("2", before="from .reg import register\n", decorators="@register('net')\n",
                        after="@register('other')\nclass Other(nn.Module): pass\n"),
         "reg.py": "TABLE = {}\ndef register(n):\n    def deco(c):\n        TABLE[n] = c\n        return c\n    return deco\n"
                   "def get(n): return TABLE[n]\n"},
        2, ("Other", "def get")),
    "a registry that is read": Case(
        {"main.py": net("build('two')()", before="from .reg import build\n"), "__init__.py": "from . import entries, main\n",
         "entries.py": "from .reg import register\n@register('two')\nclass Two:\n    def __call__(self): return 2\n",
         "reg.py": "TABLE = {}\ndef register(n):\n    def deco(c):\n        TABLE[n] = c\n        return c\n    return deco\n"
                   "def build(n): return TABLE[n]()\n"},
        2),
    "a registry object that is read": Case(
        {"main.py": net("BLOCKS.get('Two')()()", before="from .reg import BLOCKS\nfrom .entries import Three\n"),
         "entries.py": "from .reg import BLOCKS\n@BLOCKS.register()\nclass Two:\n    def __call__(self): return 2\n"
                       "class Three: pass\n",
         "reg.py": "class Registry:\n    def __init__(self): self.table = {}\n    def register(self):\n"
                   "        def deco(c):\n            self.table[c.__name__] = c\n            return c\n        return deco\n"
                   "    def get(self, n): return self.table[n]\nBLOCKS = Registry()\n"},
        2),
    "single dispatch": Case(
        {"main.py": net("f(1)", before=(
            "from functools import singledispatch\n@singledispatch\ndef f(x): return 0\n"
            "@f.register\ndef _(x: int): return 3\n@f.register(str)\ndef of_text(x): return 4\n"))},
        3),
    "a dataclass config": Case(
        {"main.py": net("Config(depth=3).width()", before="from .config import Config\n"),
         "config.py": "from __future__ import annotations\nfrom dataclasses import dataclass, field\nfrom .kinds import Kind\n"
                      "@dataclass\nclass Config:\n    depth: int\n    kind: Kind = Kind.A\n    sizes: list = field(default_factory=list)\n"
                      "    def width(self): return self.depth * self.kind.value\n",
         "kinds.py": "import enum\nclass Kind(enum.Enum):\n    A = 2\n"},
        6),
    "mixins and bases of other files": Case(
        {"main.py": net("self.gain() * K", before="from .mix import Mixin\nfrom . import base\nK = 1\n",
                        bases="Mixin, base.Base, metaclass=base.Meta"),
         "mix.py": "class Mixin:\n    def gain(self): return super().gain() + 1\n",
         "base.py": "from torch import nn\nclass Meta(type): pass\nclass Base(nn.Module):\n    def gain(self): return 2\n"},
        3),
    "partial and factory functions": Case(
        {"main.py": net("Two().scale + make(5)().scale", before=(
            "from functools import partial\nfrom .blocks import Scale\nTwo = partial(Scale, 2)\n"
            "def make(n):\n    class Local(Scale):\n        def __init__(self):\n            super().__init__(n)\n    return Local\n")),
         "blocks.py": "class Scale:\n    def __init__(self, scale): self.scale = scale\n"},
        7),
    "a lookup in globals by a known name": Case(
        {"main.py": net("globals()['two']() + getattr(h, 'three')()", before=(
            "from . import helpers as h\ndef two(): return 2\ndef unused(): pass\n")),
         "helpers.py": "def three(): return 3\ndef nobody(): pass\n"},
        5, ("unused", "nobody")),
    "a lookup in globals by a pattern": Case(
        {"main.py": net("sum(globals()[f'make_{k}']() for k in 'ab') + eval('k' + 'k')", before=(
            "def make_a(): return 1\ndef make_b(): return 2\nkk = 4\ndef unused(): pass\n"))},
        7, ("unused",)),
    "a lookup in the module by any name": Case(
        {"main.py": net("getattr(sys.modules[__name__], NAME)()", before="import sys\nNAME = 'tw' + 'o'\ndef two(): return 2\n")},
        2),
    "names made in a loop": Case(
        {"main.py": net("Made1() + Made2()", before=(
            "def maker(n): return lambda: n\nfor n in (1, 2):\n    globals()[f'Made{n}'] = maker(n)\n"))},
        3),
    "a module that is passed around": Case(
        {"main.py": net("pick(helpers, 'two')", before=(
            "from . import helpers\ndef pick(module, name): return getattr(module, name)()\n")),
         "helpers.py": "def two(): return 2\n"},
        2),
    "a module's __getattr__": Case(
        {"main.py": net("two + lazy.two", before="from .lazy import two\nfrom . import lazy\n"),
         "lazy.py": "def __getattr__(name):\n    return {'two': 2}[name]\n"},
        4),
    "an alias that names itself": Case({"main.py": net("2", before="import torch.nn as m\nm = m.modules\n", bases="m.Module")}, 2),
    "decorators that wrap": Case(
        {"main.py": NN + "import functools\ndef twice(f):\n    @functools.wraps(f)\n    def g(*a): return 2 * f(*a)\n    return g\n"
                         "class Net(nn.Module):\n    @twice\n    def forward(self, x): return x\n"},
        2),
    "docstrings are left out, those that are read are not": Case(
        {"main.py": NN + "def count(f):\n    f.n = len(f.__doc__)\n    return f\n@count\ndef f():\n    '''ab'''\n    return f.n\n"
                         "def g():\n    '''Long text.\n\n    Longer text.\n    '''\n    return len(h.__doc__)\n"
                         "def h():\n    'abc'\n"
                         "class Net(nn.Module):\n    '''Gone.'''\n    def forward(self, x):\n        '''Gone too.'''\n"
                         "        return x * (f() + g())\n"},
        5, ("Gone",)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_slice_is_complete_and_small(name: str, mine_files: Callable[..., Mined]) -> None:
    case = CASES[name]
    bundle = bundle_of(mine_files(case.files))
    cls = load_bundle(bundle)
    assert cls()(torch.ones(1)).item() == pytest.approx(case.value)
    written = "".join(f.text for f in bundle.files)
    for part in case.without:
        assert part not in written
    assert "No such" not in written


def bundle_of(mined: Mined, name: str = "net.main.Net") -> Bundle:
    return next(b for b in mined.bundles if b.name == name)


def test_a_registry_of_hundreds_is_not_dragged_along(mine_files: Callable[..., Mined]) -> None:
    entries = "".join(f"@register('n{i}')\ndef n{i}(): return {i}\n" for i in range(200))
    reg = "TABLE = {}\ndef register(n):\n    def deco(c):\n        TABLE[n] = c\n        return c\n    return deco\n"
    main = f"from .reg import register, TABLE\n{net('len(TABLE)')}{entries}"
    assert len(bundle_of(mine_files({"main.py": main, "reg.py": reg})).files[-1].statements) == 1


def test_entries_of_a_registry_come_only_with_all_that_they_are_about(mine_files: Callable[..., Mined]) -> None:
    files = {
        "reg.py": "TABLE = {}\ndef kernel(f, kind):\n    def deco(k):\n        TABLE[f, kind] = k\n        return k\n    return deco\n"
        "def call(f, x): return TABLE[f, type(x)](x)\n",
        "kinds.py": "class One: pass\nclass Two: pass\n",
        "ops.py": "from .reg import call, kernel\nfrom .kinds import One, Two\ndef op(x): return call(op, x)\n"
        "def other(x): return call(other, x)\n@kernel(op, One)\ndef op_one(x): return 3\n@kernel(op, Two)\ndef op_two(x): return 4\n"
        "@kernel(other, One)\ndef other_one(x): return 5\n",
        "main.py": net("op(One())", before="from .ops import op\nfrom .kinds import One\n"),
    }
    bundle = bundle_of(mine_files(files))
    assert load_bundle(bundle)()(torch.ones(1)).item() == 3
    ops = next(f.text for f in bundle.files if f.name == "net.ops")
    assert "op_one" in ops
    assert "op_two" not in ops and "other" not in ops


def test_the_same_statement_has_the_same_text_in_every_slice(mine_files: Callable[..., Mined]) -> None:
    main = net("f()", before="def f():\n    '''Doc.'''\n    return 1\n", after="class Other(Net):\n    '''Doc.'''\n")
    mined = mine_files({"main.py": main})
    texts = [{line: t for f in b.files for line, t in f.statements} for b in mined.bundles]
    assert {b.docstring for b in mined.bundles} == {"", "Doc."}
    for line in texts[0].keys() & texts[1].keys():
        assert texts[0][line] == texts[1][line]
