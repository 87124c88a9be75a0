"""Which slices count as the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmastool.mining.bundle import Bundle
from llmastool.mining.mine import mine_source
from llmastool.mining.sources import SourceSpec
from llmastool.mining.structure import exact, structure

ONE = '''
import torch
from torch import nn
import torch.nn.functional as F

SCALE = 2.0


def twice(x: torch.Tensor) -> torch.Tensor:
    """Double."""
    return SCALE * x


class Block(nn.Module):
    """Documented."""

    def __init__(self, dim: int, rate: float = 0.5):
        super().__init__()
        self.inner = nn.Linear(dim, dim)
        self.rate = rate

    def forward(self, x):
        return F.dropout(twice(self.inner(x)), p=self.rate)
'''

RENAMED = """
from torch import nn
from torch.nn import functional
from .other import doubled


class Unit(nn.Module):
    def __init__(self, width, p=0.5):
        super().__init__()
        self.layer = nn.Linear(width, width)
        self.p = p

    def forward(self, inputs):
        return functional.dropout(doubled(self.layer(inputs)), p=self.p)
"""

OTHER = "FACTOR = 2.0\n\n\ndef doubled(t):\n    return FACTOR * t\n"


def bundle(folder: Path, files: dict[str, str], name: str) -> Bundle:
    folder.mkdir()
    for file, text in {"__init__.py": "", **files}.items():
        (folder / file).write_text(text)
    found = mine_source(SourceSpec(kind="path", path=str(folder))).bundles
    return next(b for b in found if b.qualname == name)


def test_names_files_documentation_and_annotations_make_no_difference(tmp_path: Path) -> None:
    one = bundle(tmp_path / "one", {"nets.py": ONE}, "Block")
    other = bundle(tmp_path / "two", {"nets.py": RENAMED, "other.py": OTHER}, "Unit")
    assert structure(one) == structure(other)
    assert exact(one) != exact(other)


def test_a_copy_in_another_file_is_exact(tmp_path: Path) -> None:
    one = bundle(tmp_path / "one", {"nets.py": ONE}, "Block")
    other = bundle(tmp_path / "two", {"elsewhere.py": ONE}, "Block")
    assert exact(one) == exact(other) and one.id != other.id


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SCALE = 2.0", "SCALE = 3.0"),
        ("F.dropout", "F.alpha_dropout"),
        ("nn.Linear(dim, dim)", "nn.Linear(dim, 2 * dim)"),
        ("SCALE * x", "x * SCALE"),
        ("rate: float = 0.5", "rate: float = 0.1"),
        ("return SCALE * x", "return SCALE * x if x.dim() > 1 else x"),
        ("nn.Linear(dim, dim)", "nn.Linear(dim, max(dim, 1))"),
    ],
)
def test_what_is_done_makes_a_difference(tmp_path: Path, old: str, new: str) -> None:
    one = bundle(tmp_path / "one", {"nets.py": ONE}, "Block")
    other = bundle(tmp_path / "two", {"nets.py": ONE.replace(old, new)}, "Block")
    assert structure(one) != structure(other)


def test_builtins_and_the_order_of_parameters_make_a_difference(tmp_path: Path) -> None:
    code = (
        "from torch import nn\n\n\nclass A(nn.Module):\n    def __init__(self):\n        super().__init__()\n\n"
        "    def forward(self, a, b):\n        return a - b.{}()\n"
    )
    texts = [code.format("amax"), code.format("amin"), code.format("amax").replace("a - b.", "b - a.")]
    found = {structure(bundle(tmp_path / f"s{i}", {"nets.py": text}, "A")) for i, text in enumerate(texts)}
    assert len(found) == 3
