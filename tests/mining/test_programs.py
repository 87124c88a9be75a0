"""Programs: factories and examples are found, sliced, and run with nothing of their source installed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from llmastool.mining.bundle import Program, read_programs
from llmastool.mining.classes import ClassFinder
from llmastool.mining.examples import blocks, find_examples
from llmastool.mining.factories import COVER
from llmastool.mining.index import SourceIndex
from llmastool.mining.mine import Mined, mine_source, write
from llmastool.mining.slicing import Slicer
from llmastool.mining.sources import SourceSpec, read_source
from llmastool.registry.loading import VirtualPackage
from tests.mining.conftest import write_source

FILES: dict[str, str | bytes] = {
    "__init__.py": "from .nets import Net, small\n",
    "nets.py": '''
import torch
from torch import nn
from functools import partial

class Block(nn.Module):
    """A block.

    Example::

        >>> block = Block(4)
        >>> out = block(torch.ones(2, 4))
        >>> assert out.shape == (2, 4)
    """

    def __init__(self, dim):
        super().__init__()
        self.body = nn.Linear(dim, dim)

    def forward(self, x):
        return self.body(x)

class Net(nn.Module):
    """A net.

    ```python
    net = Net(3, block=partial(Block, 5))
    ```
    """

    def __init__(self, depth, block=partial(Block, 4)):
        super().__init__()
        self.body = nn.Sequential(*(block() for _ in range(depth)))

    def forward(self, x):
        return self.body(x)

class Lonely(nn.Module):
    def forward(self, x):
        return x

def _make(depth, **kwargs):
    return Net(depth, **kwargs)

def small(pretrained: bool = False, *, width=4, **kwargs):
    return _make(2, **kwargs)

def large(pretrained=False, **kwargs):
    """A large net."""
    return _make(200, **kwargs)

def huge(pretrained=False): return _make(2000)
def vast(pretrained=False): return _make(20000)
def wants(depth, flag=True): return _make(depth)
def helper(x=1): return x + 1
def says_nothing(): Net(2)
def says_true(): Net(2); return True
def test_net(): return Net(2)
async def later(): return Net(2)

def inner():
    def f():
        return Net(1)
''',
}
README = """
# net

```python
import torch
from net import Net
net = Net(2)
out = net(torch.ones(1, 4))
```

```bash
pip install net
```

```py
model = small()
out = model(torch.ones(1, 4))
```

```python
import math
print(math.pi)
```

```python
from net import Net
net = Net(2
```

.. code-block:: python
   :linenos:

   from net.nets import Block
   block = Block(4)
"""


@pytest.fixture
def mined(mine_files: Callable[..., Mined], tmp_path: Path) -> Mined:
    root = write_source(tmp_path, FILES)
    (root / "README.md").write_text(README)
    return mine_files(FILES)


def run(program: Program) -> dict[str, object]:
    package = VirtualPackage(f"_mined_{program.name.replace('.', '_')}", program.files)
    module = package.execute(program.module)
    return vars(module)


def test_factories_are_functions_that_need_nothing_and_give_modules(mined: Mined) -> None:
    factories = {p.name: p for p in mined.programs if p.kind == "factory"}
    assert list(factories) == ["net.nets.small", "net.nets.large", "net.nets.huge"], "three a class, the smallest first"
    assert COVER == 3
    small = factories["net.nets.small"]
    assert small.classes == ("net.nets.Block", "net.nets.Net")
    assert small.third_party == ("functools", "torch")
    net = run(small)["small"]()  # type: ignore[operator]
    assert net(torch.ones(1, 4)).shape == (1, 4)
    assert all("Lonely" not in f.text for f in small.files)


def test_examples_come_from_the_readme_and_from_docstrings(mined: Mined) -> None:
    examples = [p for p in mined.programs if p.kind == "example"]
    assert [p.name for p in examples] == [f"net.__example__.{n}" for n in range(len(examples))]
    texts = [next(f.text for f in p.files if f.name == p.module) for p in examples]
    starts = [
        "import torch\nfrom net import Net",
        "from net.nets import small\nimport torch",
        "from net.nets import Block",
    ]
    assert len(texts) == 5
    for text, start in zip(texts, starts, strict=False):
        assert text.startswith(start)
    namespaces = [run(p) for p in examples]
    assert namespaces[0]["out"].shape == (1, 4)  # type: ignore[attr-defined]
    assert namespaces[1]["out"].shape == (1, 4)  # type: ignore[attr-defined]
    assert type(namespaces[3]["block"]).__name__ == "Block"
    assert len(namespaces[4]["net"].body) == 3  # type: ignore[attr-defined]


def test_what_is_no_example_of_the_source_is_left_out(mined: Mined) -> None:
    written = [f.text for p in mined.programs for f in p.files]
    assert not any("math.pi" in text or "pip install" in text for text in written)


def test_programs_are_written_beside_bundles_and_read_back(mined: Mined, tmp_path: Path) -> None:
    write([mined], tmp_path / "out")
    assert read_programs(tmp_path / "out" / "programs.jsonl") == sorted(mined.programs, key=lambda p: p.name)
    assert [Program.from_json(p.to_json()) for p in mined.programs] == list(mined.programs)
    write([replace(mined, programs=())], tmp_path / "none")
    assert read_programs(tmp_path / "none" / "programs.jsonl") == []
    assert read_programs(tmp_path / "absent.jsonl") == []


def test_texts_of_a_source_are_read_whatever_brought_them(tmp_path: Path) -> None:
    root = write_source(tmp_path, FILES)
    index = SourceIndex(read_source(SourceSpec(kind="path", path=str(root))))
    classes = ClassFinder(index).find()
    owners = {id(c.statement): [c.name] for c in classes}
    found = find_examples(index, Slicer(index), [], owners, [("METADATA", README)])
    assert [p.classes for p in found] == [("net.nets.Block", "net.nets.Net")] * 2 + [("net.nets.Block",)]


def test_blocks_of_both_kinds_of_markup_with_and_without_prompts() -> None:
    text = "~~~ python\na = 1\n~~~\n  ```py\n  b = 2\n  ```\n```\nno = 1\n```\n\n>>> c = [\n...     3]\n>>> c\n[3]\n"
    assert list(blocks(text)) == ["a = 1", "b = 2", "c = [\n    3]\nc\n"]
    assert list(blocks("```python\n>>> d = 4\n4\n>>> e\n```\n")) == ["d = 4\ne\n"]
    assert list(blocks("text alone")) == []
    assert list(blocks(">>> x = 1\n  >>> y\n z\n")) is not None


def test_torchvision_has_factories_for_most_of_its_networks() -> None:
    mined = mine_source(SourceSpec(name="torchvision", include=("models/resnet.py", "models/vgg.py")))
    factories = [p for p in mined.programs if p.kind == "factory"]
    assert {"torchvision.models.resnet.resnet18", "torchvision.models.vgg.vgg11"} <= {p.name for p in factories}
    assert len(factories) <= COVER * len(mined.bundles)
    (resnet,) = (p for p in factories if p.name.endswith("resnet18"))
    assert run(resnet)["resnet18"]()(torch.ones(2, 3, 32, 32)).shape == (2, 1000)  # type: ignore[operator]
