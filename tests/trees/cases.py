"""Small packages on which making files flat can go wrong, each with the number by which its `Net` multiplies."""

from __future__ import annotations

import re
from textwrap import dedent

NET = """
from torch import nn


class Net(nn.Module):
    def forward(self, x):
        return x * value()
"""
"""Stands for `<Net>` in the cases."""


def files_of(case: str) -> dict[str, str]:
    """Return the sources of a case by module name; each begins with a line `# path`."""
    parts = re.split(r"^# (\S+)\.py$", dedent(case), flags=re.MULTILINE)[1:]
    return {
        path.replace("/", "."): text.strip("\n").replace("<Net>", NET) + "\n"
        for path, text in zip(parts[::2], parts[1::2], strict=True)
    }


CASES: dict[str, tuple[float, str]] = {
    "helpers of one name": (
        209,
        """
        # pkg/net.py
        from .other import twice
        def scale(scale=1):
            # scale is a local name here, and "scale" a string
            return dict(scale=scale)["scale"] + 1
        class Holder:
            scale = scale(4)
            def get(self):
                return self.scale + scale()
        def value(): return twice() + Holder().get() + float(f"{scale()}")
        <Net>
        # pkg/other.py
        def scale(): return 100
        def twice(): return 2 * scale()
        """,
    ),
    "another name for an import": (
        4,
        """
        # pkg/net.py
        from .other import three as four
        def three(): return 1
        def value(): return four() + three()

        <Net>
        # pkg/other.py
        def three(): return 3
        """,
    ),
    "modules as objects": (
        216,
        """
        # pkg/net.py
        from . import misc
        import pkg.deep.leaf as leaf
        import pkg.deep.leaf
        def value():
            misc.bump()
            misc.LEVEL += 1
            return misc.COUNT + misc.LEVEL + leaf.one() + pkg.deep.leaf.one()

        <Net>
        # pkg/misc.py
        COUNT = 10
        LEVEL = 0
        def bump():
            global COUNT
            COUNT += 5
        # pkg/deep/leaf.py
        def one(): return 100
        """,
    ),
    "an import of what the slice lacks": (
        538,
        """
        # pkg/net.py
        try:
            from ..ext import fast
        except ImportError:
            fast = None
        try:
            from pkg.gone import a
        except ModuleNotFoundError:
            a = 7
        try:
            from .other import nothing
        except ImportError:
            nothing = 30
        def lazy():
            try:
                from .gone import b
            except ImportError:
                b = 500
            return b
        def value(): return (fast is None) + a + nothing + lazy()

        <Net>
        # pkg/other.py
        something = 1
        """,
    ),
    "a guarded import that fails further down": (
        4,
        '''
        # pkg/net.py
        try:
            from .fast import value
        except ImportError:
            from .slow import value

        <Net>
        # pkg/fast.py
        """A file."""
        import no_such_package_at_all
        def value(): return no_such_package_at_all.x
        # pkg/slow.py
        def value(): return 4
        ''',
    ),
    "a guarded import that works": (
        4,
        """
        # pkg/net.py
        try:
            from .fast import value
        except ImportError:
            def value(): return -1

        <Net>
        # pkg/fast.py
        import numpy
        def text():
            return '''a
        b'''
        def value(): return len(text()) + numpy.int64(1)
        """,
    ),
    "a star import": (
        3,
        """
        # pkg/net.py
        from .names import *
        hidden = 1
        def value(): return shown + hidden

        <Net>
        # pkg/names.py
        __all__ = ['shown']
        shown = 2
        hidden = 50
        """,
    ),
    "bases, decorators and constants of other files": (
        12,
        """
        # pkg/net.py
        from .base import Base, plus
        from .base import STEP as STEP
        class Net(Base):
            @plus(STEP)
            def factor(self):
                return STEP
        # pkg/base.py
        from functools import wraps
        from torch import nn
        STEP = 5
        if STEP > 3:
            STEP = 6
        def plus(n):
            def wrap(f):
                @wraps(f)
                def inner(*a):
                    return f(*a) + n
                return inner
            return wrap
        class Base(nn.Module):
            def forward(self, x):
                return x * self.factor()
        """,
    ),
    "typing only": (
        8,
        """
        # pkg/net.py
        from __future__ import annotations
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from .types import Thing
        def value(a: Thing | None = None) -> Thing: return 8

        <Net>
        """,
    ),
    "imports in functions, in a circle": (
        311,
        """
        # pkg/net.py
        def one(): return 1
        def value():
            from .other import two as one
            from . import other
            return one() + other.three()

        <Net>
        # pkg/other.py
        from .net import one
        from .third import three
        def two(): return 10 + one()
        # pkg/third.py
        def three(): return 300
        """,
    ),
    "code that reads annotations beside postponed ones": (
        22,
        """
        # pkg/net.py
        from .reader import kind
        from .late import late
        def value(): return kind() + late(1)

        <Net>
        # pkg/reader.py
        import inspect
        from .late import late
        def f(a: int): pass
        def kind(): return 20 if inspect.signature(f).parameters['a'].annotation is int else late(0)
        # pkg/late.py
        from __future__ import annotations
        def late(a: NotThere): return a + 1
        """,
    ),
    "all names of another package": (
        7,
        """
        # pkg/net.py
        from .maths import root
        from . import maths
        def sqrt(): return 1
        def value(): return root() + sqrt() + maths.root()

        <Net>
        # pkg/maths.py
        from math import *
        from .numbers import nine
        def root(): return sqrt(nine)
        # pkg/numbers.py
        nine = 9
        """,
    ),
    "a builtin's name": (
        42,
        """
        # pkg/net.py
        from .own import own
        def value(): return max(1, 2) + own()

        <Net>
        # pkg/own.py
        def max(a, b): return 40
        def own(): return max(1, 2)
        """,
    ),
    "a package that passes names on": (
        18,
        """
        # pkg/net.py
        from pkg import nine
        import pkg
        def value(): return nine + pkg.nine

        <Net>
        # pkg/__init__.py
        from .deep import nine
        # pkg/deep.py
        nine = 9
        """,
    ),
    "other packages under one name": (
        4,
        """
        # pkg/net.py
        from math import floor as f
        from .up import up
        import torch.nn.functional as F
        def value(): return f(1.5) + up() + F.relu(F.torch.ones(())).item()

        <Net>
        # pkg/up.py
        from math import ceil as f, inf as pow
        from torch.nn import functional as F
        def up(): return f(1.5) * (pow > 1) * F.relu(F.torch.ones(())).item()
        """,
    ),
    "names that the file itself needs": (
        3,
        """
        # pkg/net.py
        from torch.nn import functional as nn
        from .base import Base as build_model
        torch = 3
        def value(): return torch
        class Net(build_model):
            def forward(self, x):
                return nn.relu(x) * value()
        # pkg/base.py
        import torch
        class Base(torch.nn.Module): pass
        """,
    ),
    "a name bound in more ways than one": (
        303,
        """
        # pkg/net.py
        from .other import n
        n = n + 1
        from .other import m
        def value(): return n + m + step() + m
        from .other import step

        <Net>
        # pkg/other.py
        n = 1
        m = 100
        def step():
            global m
            m = m + 1
            return m
        """,
    ),
}
