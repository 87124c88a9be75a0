"""Exported networks against built trees: same weights, same outputs, to the last bit."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmastool.errors import RegistryError
from llmastool.mining.bundle import Bundle
from llmastool.mining.mine import mine_source
from llmastool.mining.sources import SourceSpec
from llmastool.registry.store import Registry
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog
from llmastool.trees.construction import Construction
from llmastool.trees.export import export
from llmastool.trees.layout import WIDTH, Doc, Group, render
from llmastool.trees.tree import Tree
from tests.trees.bundles import make_bundle

RUNNER = """
import importlib.util, sys, torch
spec = importlib.util.spec_from_file_location("network", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["network"] = module
spec.loader.exec_module(module)
torch.manual_seed(7)
net = module.build_model().eval()
torch.manual_seed(8)
with torch.no_grad():
    output = net(torch.randn(*map(int, sys.argv[3:])))
assert not {"llmastool", "tests"} & {name.split(".")[0] for name in sys.modules}
torch.save((net.state_dict(), output), sys.argv[2])
"""


def isolated(*args: str) -> str:
    command = [sys.executable, "-I", "-W", "error", *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_same(tree: Tree, bundles: Mapping[str, Bundle], in_shape: tuple[int, ...], folder: Path) -> str:
    """Compare the exported file, run in a process without this project, with the tree built here."""
    text = export(tree, bundles, in_shape=in_shape, title="A network")
    assert text == export(tree, bundles, in_shape=in_shape, title="A network")
    path = folder / "network.py"
    path.write_text(text)
    isolated("-c", RUNNER, str(path), str(folder / "result.pt"), *map(str, in_shape))
    state, output = torch.load(folder / "result.pt")
    torch.manual_seed(7)
    net = build(tree, Catalog(Registry([], bundles))).eval()
    torch.manual_seed(8)
    with torch.no_grad():
        expected = net(torch.randn(*in_shape))
    assert list(state) == list(net.state_dict())
    assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())
    assert torch.equal(output, expected)
    return text


MINE = make_bundle(
    {
        "pkg.net": """
            from torch import nn
            from .parts import Part, make
            class Net(nn.Module):
                def __init__(self, width=4, *, act=nn.ReLU, head=None, sizes=(1, 2), **more):
                    super().__init__()
                    self.stem = nn.Linear(3, width)
                    self.parts = nn.ModuleList([make(width) for _ in sizes])
                    self.act = act()
                    self.head = head if head is not None else nn.Linear(width, 2)
                    self.more = more
                def forward(self, x):
                    x = self.stem(x)
                    for part in self.parts:
                        x = self.act(part(x))
                    return self.head(x) * len(self.more.get("scale", "x"))
            """,
        "pkg.parts": """
            from torch import nn
            class Part(nn.Module):
                class Inner(nn.Linear): pass
                def __init__(self, width):
                    super().__init__()
                    self.inner = Part.Inner(width, width)
                def forward(self, x):
                    return self.inner(x)
            def make(width): return Part(width)
            """,
    }
)


def linear(inputs: int, outputs: int) -> Tree:
    return Tree("torch.nn.Linear", {"in_features": inputs, "out_features": outputs})


def test_children_arguments_and_containers_of_every_kind(tmp_path: Path) -> None:
    inner = f"{MINE.id}:pkg.parts.Part.Inner"
    head = Tree(
        "torch.nn.Sequential", {}, (("one", linear(4, 4)), ("two", Tree(inner, {"in_features": 4, "out_features": 2})))
    )
    residual = Tree(
        "llmastool.blocks.Residual",
        {},
        (("body", Tree("torch.nn.Sequential", {}, (("0", linear(4, 4)), ("1", linear(4, 4))))),),
    )
    nested = Tree("torch.nn.Sequential", {}, (("0", residual), ("1", Tree("torch.nn.Dropout", {"p": 0.5}))))
    args = {
        "act": {"$partial": {"func": {"$ref": "torch.nn.LeakyReLU"}, "args": [0.1], "kwargs": {"inplace": True}}},
        "head": {"$tree": {k: v for k, v in head.to_json().items() if k != "version"}},
        "sizes": {"$tuple": [1]},
        "scale": "a'\"b",
        "class": {"k": [None, True, -1.5]},
    }
    tree = Tree(MINE.id, args, (("parts.0.inner", nested), ("stem", linear(3, 4))))
    text = assert_same(tree, {MINE.id: MINE}, (5, 3), tmp_path)
    assert "LeakyReLU, 0.1, inplace=True" in text and '**{"class": {"k": [None, True, -1.5]}}' in text
    assert (
        'net.set_submodule("parts.0.inner", ' in text
        and "    net.stem = nn.Linear(in_features=3, out_features=4)\n" in text
    )
    assert (
        '("one", nn.Linear(in_features=4, out_features=4)),' in text
        and "class Residual(nn.Module):" in text
        and "class MapToTokens" not in text
    )


def test_modules_among_arguments_are_built_in_their_order(tmp_path: Path) -> None:
    pair = make_bundle({"pkg.net": "from torch import nn\nclass Net(nn.Module):\n    def __init__(self, a, b):\n        super().__init__()\n        self.b, self.a = b, a\n    def forward(self, x): return self.a(self.b(x))"})  # fmt: skip
    deep = Tree("llmastool.blocks.Residual", {}, (("body", linear(3, 3)),))
    body = [{k: v for k, v in t.to_json().items() if k != "version"} for t in (linear(3, 3), deep)]
    assert_same(Tree(pair.id, {"a": {"$tree": body[0]}, "b": {"$tree": body[1]}}), {pair.id: pair}, (2, 3), tmp_path)


def test_two_sources_with_modules_of_one_name_stay_apart(tmp_path: Path) -> None:
    code = (
        "from torch import nn\nSCALE = {}\nclass Net(nn.Module):\n    def forward(self, x):\n        return x * SCALE"
    )
    first, second = (make_bundle({"pkg.net": code.format(n)}, digest=f"d{n}") for n in (2, 3))
    bundles = {b.id: b for b in (first, second)}
    tree = Tree("torch.nn.Sequential", {}, (("0", Tree(first.id)), ("1", Tree(second.id)), ("2", Tree(first.id))))
    text = assert_same(tree, bundles, (1, 2), tmp_path)
    assert "nn.Sequential(Net(), Net_net(), Net())" in text and "* SCALE_net" in text


@pytest.fixture(scope="module")
def torchvision() -> dict[str, Bundle]:
    return {b.name: b for b in mine_source(SourceSpec(kind="installed", name="torchvision")).bundles}


def test_mined_networks_of_torchvision(torchvision: Mapping[str, Bundle], tmp_path: Path) -> None:
    ids = {name.removeprefix("torchvision."): bundle.id for name, bundle in torchvision.items()}
    conv = Tree(ids["ops.misc.Conv2dNormActivation"], {"in_channels": 64, "out_channels": 64})
    squeeze = Tree(ids["ops.misc.SqueezeExcitation"], {"input_channels": 64, "squeeze_channels": 16})
    args = {"block": {"$ref": ids["models.resnet.BasicBlock"]}, "layers": [1, 1, 1, 1], "num_classes": 10}
    changed = (("layer1.0.conv2", Tree("torch.nn.Sequential", {}, (("0", conv), ("1", squeeze)))),)
    text = assert_same(
        Tree(ids["models.resnet.ResNet"], args, changed),
        {b.id: b for b in torchvision.values()},
        (2, 3, 32, 32),
        tmp_path,
    )
    assert "torchvision.models.resnet.ResNet: torchvision/models/resnet.py, lines " in text
    assert re.search(r"torchvision [\d.]+, licence: BSD", text)
    assert max(len(line) for line in text[text.index("def build_model") :].splitlines()) <= WIDTH
    sizes = {"image_size": 16, "patch_size": 4, "num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}
    bundles = {b.id: b for b in torchvision.values()}
    assert_same(Tree(ids["models.vision_transformer.VisionTransformer"], sizes), bundles, (1, 3, 16, 16), tmp_path)


def test_every_class_of_torchvision_becomes_valid_source(torchvision: Mapping[str, Bundle]) -> None:
    bundles = {b.id: b for b in torchvision.values()}
    texts = {n: export(Tree(b.id), bundles, in_shape=(1,), title="t") for n, b in list(torchvision.items())[::6]}
    for name, text in texts.items():
        compile(text, name, "exec", dont_inherit=True)
        assert not re.search(r"^\s*(from \.|from torchvision|import torchvision)", text, re.MULTILINE), name
    assert len(texts) > 40


def test_the_example_runs_and_text_of_others_stays_text(tmp_path: Path) -> None:
    title, notes = 'Evil """ + exit(1) + """ \\', ["line\nbreak\x00", '"""', "long " * 80]
    path = tmp_path / "network.py"
    path.write_text(export(linear(3, 2), {}, in_shape=(4, 3), title=title, notes=notes))
    assert isolated(str(path)) == "output (4, 2), 8 parameters\n"
    document = ast.get_docstring(ast.parse(path.read_text()))
    assert document is not None and document.startswith(title) and "line break" in document
    assert all(len(line) <= WIDTH for line in path.read_text().splitlines())


def test_plain_torch_names_are_written_out_and_imported(tmp_path: Path) -> None:
    tree = Tree("torch.nn.Sequential", {}, (("0", linear(3, 3)), ("1", Tree("torch.nn.modules.activation.GELU"))))
    text = assert_same(tree, {}, (2, 3), tmp_path)
    assert "nn.modules.activation.GELU()" in text and "import torch.nn.modules.activation\n" in text


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (Tree("pkg.net.Net@gone"), "pkg.net.Net@gone: expected a name of torch or the id of a bundle"),
        (Tree("torch.nn.NoSuchThing"), "torch.nn.NoSuchThing: there is no such name"),
        (Tree("llmastool.blocks.NoSuchBlock"), "expected one of our own blocks"),
        (Tree(f"{MINE.id}:other.Thing"), "not in the slice of"),
    ],
)
def test_what_cannot_be_found_is_named(tree: Tree, message: str) -> None:
    with pytest.raises(RegistryError, match=re.escape(message)):
        export(tree, {MINE.id: MINE}, in_shape=(1,), title="t")


docs = st.recursive(
    st.sampled_from(["a", "'some text'", "1.5"]),
    lambda inner: st.lists(inner, max_size=6).map(lambda items: Group("[", tuple(("", i) for i in items), "]")),
    max_leaves=40,
)


@given(docs, st.integers(0, 60))
def test_layout_changes_no_meaning(doc: Doc, indent: int) -> None:
    broken = ast.parse(f"({render(doc, indent)})", mode="eval")
    whole = ast.parse(f"({render(doc, -10_000)})", mode="eval")
    assert ast.dump(broken) == ast.dump(whole)


def test_statements_follow_the_order_of_building() -> None:
    tree = Tree("P", {}, (("a", linear(1, 1)), ("b", Tree("Q", {}, (("c", linear(1, 1)),)))))
    written = Construction(lambda name, _: name.rpartition(".")[2], lambda wish: wish).write(tree)
    assert [line.strip().partition(" =")[0] for line in written.splitlines()] == [
        "net", "net.a", "b", "b.c", "net.b", "return net",
    ]  # fmt: skip


def test_no_module_works_in_place_here_or_in_the_file(catalog: Catalog, tmp_path: Path) -> None:
    """A ReLU that overwrites what the sigmoid before it needs for its gradient would make training fail."""
    parts = (
        Tree("torch.nn.Conv2d", {"in_channels": 3, "out_channels": 4, "kernel_size": 1}), Tree("torch.nn.Sigmoid"),
        Tree("torch.nn.ReLU", {"inplace": True}),
    )  # fmt: skip
    tree = Tree("torch.nn.Sequential", {}, tuple((str(i), part) for i, part in enumerate(parts)))
    file = tmp_path / "model.py"
    file.write_text(export(tree, catalog.bundles, in_shape=(1, 3, 8, 8), title="In place"))
    spec = importlib.util.spec_from_file_location("in_place", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for net in (build(tree, catalog), module.build_model()):
        net(torch.randn(2, 3, 8, 8)).sum().backward()
    assert "_out_of_place" not in export(parts[0], catalog.bundles, in_shape=(1, 3, 8, 8), title="Plain")
