"""Arguments that are modules of the same source."""

from __future__ import annotations

from pathlib import Path

from llmastool.mining.mine import mine_source
from llmastool.mining.sources import SourceSpec
from llmastool.registry.values import Resolver

PARTS = """
from torch import nn

WIDTH = 4


class Attend(nn.Module):
    def forward(self, x):
        return x.softmax(-1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)
        self.attend = Attend()

    def forward(self, x):
        return self.attend(self.layer(x))
"""

COUNTER = '''
from torch import nn
from .parts import Attend


class Counter(nn.Module):
    """Ask what the modules of its argument are, as what records attention does."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.found = [m for m in net.modules() if isinstance(m, Attend)]

    def forward(self, x):
        return len(self.found) * self.net(x)
'''


def test_a_module_and_its_argument_share_the_classes_that_both_know(tmp_path: Path) -> None:
    root = tmp_path / "asks"
    root.mkdir()
    for name, text in {"__init__.py": "", "parts.py": PARTS, "counter.py": COUNTER}.items():
        (root / name).write_text(text)
    bundles = {b.id: b for b in mine_source(SourceSpec(kind="path", path=str(root))).bundles}
    by_name = {b.qualname: b for b in bundles.values()}
    assert all("class Net" not in f.text for f in by_name["Counter"].files)
    resolver = Resolver(bundles)
    counter = resolver.find(by_name["Counter"].id)
    net = resolver.decode({"$tree": {"module": by_name["Net"].id, "args": {}}}, by_name["Counter"])
    assert len(counter(net).found) == 1
    assert resolver.name(type(net)) == by_name["Net"].id
    alone = resolver.find(by_name["Net"].id)()
    assert resolver.name(type(alone)) == by_name["Net"].id
    assert not counter(alone).found  # built by itself, it has a class of its own
