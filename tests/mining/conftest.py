"""A small source tree on disk that does what makes slicing hard."""

from collections.abc import Callable
from pathlib import Path

import pytest

from llmastool.mining.mine import Mined, mine_source
from llmastool.mining.sources import SourceSpec

FILES = {
    "net/__init__.py": "from .blocks import *\nfrom .late import Late\nfrom . import helpers\n",
    "net/blocks.py": '''
"""Blocks."""
from __future__ import annotations
import math, os.path as osp
from typing import TYPE_CHECKING
import torch
import torch.nn as nn
import torch.nn.functional as F
from .helpers import make_divisible as md, UNUSED
from . import helpers
from .registry import register
if TYPE_CHECKING:
    from .heavy import Heavy
try:
    from .fast import kernel
except ImportError:
    kernel = None

WIDTH = 4
TABLE = {}
TABLE["wide"] = WIDTH * 2
unrelated = print

def scale(x: int) -> int:
    return md(x * TABLE["wide"], WIDTH)

@register("block")
class Block(nn.Module):
    """A block.

    With two lines.
    """

    def __init__(self, dim: int, ratio: float = 2.0, *, act=nn.ReLU, heavy: Heavy = None, **kwargs):
        super().__init__()
        self.body = nn.Linear(dim, dim)
        self.act = act()

    def forward(self, x):
        return F.dropout(self.act(self.body(x)), 0.0) * helpers.gain(math.pi) * (1 if kernel is None else 0)

class Wide(Block):
    def __init__(self, dim: int):
        super().__init__(scale(dim) // scale(dim) * dim)

class NotAModule:
    pass
''',
    "net/helpers.py": """
UNUSED = 1
SECRET = object()

def make_divisible(value, by):
    return value - value % by

def gain(x):
    return _inner(x) / _inner(x)

def _inner(x):
    return abs(x) + 1

def big():
    return SECRET
""",
    "net/registry.py": """
REGISTRY = {}

def register(name):
    def deco(cls):
        REGISTRY[name] = cls
        return cls
    return deco
""",
    "net/heavy.py": "class Heavy: pass\n",
    "net/late.py": """
import net.blocks as blocks
import net
import torch.nn

class Late(blocks.Wide):
    def forward(self, x):
        from .helpers import gain
        return super().forward(x) * gain(net.helpers.gain(1.0))

class Outer:
    class Inner(torch.nn.Module):
        def forward(self, x):
            return x

def use():
    return Late(16), blocks.Block(8, 1.5, act=blocks.nn.GELU), blocks.Block(dim=some())
""",
    "net/broken.py": "class Half(nn.Module:\n    def x(:\nfrom torch import nn\nclass Whole(nn.Module):\n    def forward(self, x):\n        return x\n",
    "net/old.py": "print 'python two'\n",
    "net/exports.py": "from .blocks import *\nclass Star(Block):\n    pass\n",
    "net/alias.py": "from torch import nn as layers\nBase = layers.Module\nclass Aliased(Base):\n    def forward(self, x): return x\n",
    "net/cycle.py": "class A(B): pass\nclass B(A): pass\n",
}


@pytest.fixture(scope="session")
def source_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source")
    for name, content in FILES.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    (root / "net" / "loop").symlink_to(root / "net")
    return root / "net"


def write_source(root: Path, files: dict[str, str | bytes]) -> Path:
    """Write the files of a package below `root`, and return the package's folder."""
    for name, content in files.items():
        path = root / "net" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if not (root / "net" / "__init__.py").exists():
        (root / "net" / "__init__.py").write_text("")
    return root / "net"


@pytest.fixture
def mine_files(tmp_path: Path) -> Callable[..., Mined]:
    """Mine a package `net` made of the given files."""

    def mine(files: dict[str, str | bytes]) -> Mined:
        return mine_source(SourceSpec(kind="path", path=str(write_source(tmp_path, files))))

    return mine
