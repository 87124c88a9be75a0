"""What is recalled of modules inside a network is what running the network whole shows."""

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from llmastool.errors import TreeError
from llmastool.registry.store import Registry
from llmastool.trees import front, parts
from llmastool.trees.catalog import Catalog
from llmastool.trees.part import Part, Signal
from llmastool.trees.scene import LIVE, Scene
from llmastool.trees.tree import Tree
from tests.trees.bundles import make_bundle

ODD = make_bundle(
    {
        "odd.net": """
            import random
            import torch
            from torch import nn

            class Block(nn.Module):
                def __init__(self, width, stride=1):
                    super().__init__()
                    self.conv1 = nn.Sequential(nn.Conv2d(width, width, 3, stride, 1), nn.BatchNorm2d(width))
                    self.conv2 = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width))
                    self.act = nn.ReLU()
                def forward(self, x):
                    return self.act(x + self.conv2(self.act(self.conv1(x))))

            class Remembers(Block):
                def forward(self, x):
                    self.last = super().forward(x)
                    return self.last

            class Collects(Block):
                def __init__(self, width):
                    super().__init__(width)
                    self.all = []
                def forward(self, x):
                    self.all.append(super().forward(x))
                    return self.all[-1]

            class Overwrites(Block):
                def forward(self, x):
                    x += 1.0
                    return super().forward(x)

            class Draws(Block):
                def forward(self, x):
                    return super().forward(x) if random.random() < 0.5 else self.conv1(x)

            class Chooses(Block):
                def forward(self, x):
                    return super().forward(x if self.training else self.conv1(x))

            class Net(nn.Module):
                def __init__(self, width=4, again=2):
                    super().__init__()
                    self.stem = nn.Conv2d(3, width, 1)
                    self.first = Block(width)
                    self.second = Block(width)
                    self.hooked = Block(width)
                    self.hooked.register_forward_hook(lambda module, args, out: self.kept.append(out))
                    self.kept, self.again = [], again
                    self.pair = nn.ModuleList([nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU()), nn.Identity()])
                    self.alias = self.pair[0]
                    self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2))
                def forward(self, x):
                    x = self.stem(x)
                    y = self.second(self.first(x))
                    for _ in range(self.again):
                        y = self.pair[0](y)
                    y = self.alias(y) + self.hooked(x)
                    left = getattr(self.first, "last", None)
                    if left is not None:
                        y = y + left
                    if hasattr(self.first, "all"):
                        y = y + self.first.all[-1]
                    try:
                        y = self.pair[1](y)
                    except RuntimeError:
                        y = 2 * y
                    return self.head(y + self.kept[-1] + x)
            """,
    },
    "odd.net.Net",
)
WIDTH = 4
IMAGE = Signal.image((2, 3, 8, 8))


def inner(name: str, **args: int) -> Tree:
    return Tree(f"{ODD.id}:odd.net.{name}", {"width": WIDTH, **args})


def conv(out: int = WIDTH, inputs: int = WIDTH) -> Tree:
    return Tree("torch.nn.Conv2d", {"in_channels": inputs, "out_channels": out, "kernel_size": 1})


EDITS: dict[str, tuple[tuple[str, Tree], ...]] = {
    "none": (),
    "a leaf": (("second.conv1.1", Tree("torch.nn.Identity")),),
    "two, one deeper": (("first.conv1", Tree("torch.nn.Sequential", {}, (("0", conv()), ("1", conv())))),
                        ("second.act", Tree("torch.nn.GELU"))),
    "one that keeps what it gave": (("first", inner("Remembers")),),
    "one that collects what it gave": (("first", inner("Collects")),),
    "one that overwrites its input": (("first", inner("Overwrites")),),
    "one that draws by chance": (("first", inner("Draws")), ("second", inner("Draws"))),
    "one that is another in eval mode": (("second", inner("Chooses")),),
    "one that is hooked": (("hooked.act", Tree("torch.nn.Tanh")),),
    "one with another layout in memory": (
        ("first", Tree("torch.nn.Sequential", {}, (("0", Tree("llmastool.blocks.ChannelsLast")),
                                                  ("1", Tree("llmastool.blocks.ChannelsFirst"))))),),
    "one that fails where that is caught": (("pair.1", Tree("torch.nn.Sequential", {}, (("0", conv(5, 7)),))),),
    "all of it shared": (("first", Tree("same", {"path": "second"})),),
}  # fmt: skip


@pytest.fixture(scope="module")
def odd() -> Catalog:
    """A catalog that remembers what the tests before looked at."""
    return Catalog(Registry([], {ODD.id: ODD}))


def net(edits: tuple[tuple[str, Tree], ...], **args: int) -> Tree:
    return Tree(ODD.id, args, edits)


def seen(tree: Tree, catalog: Catalog, *, recalling: bool) -> Part | str:
    try:
        return parts._observed(tree, catalog, IMAGE, recalling=recalling)
    except TreeError as error:
        return str(error)


@pytest.mark.parametrize("again", [1, 2])
@pytest.mark.parametrize("edit", list(EDITS))
def test_what_is_recalled_is_what_is_there(odd: Catalog, edit: str, again: int) -> None:
    tree = net(EDITS[edit], again=again)
    if "chance" in edit:  # what is drawn differs, as less is run; it is the same each time
        expected = seen(tree, Catalog(Registry([], {ODD.id: ODD})), recalling=True)
    else:
        expected = seen(tree, Catalog(Registry([], {ODD.id: ODD})), recalling=False)
    assert isinstance(expected, Part)
    for _ in range(2):
        assert seen(tree, odd, recalling=True) == expected


def test_what_fails_says_where(odd: Catalog) -> None:
    for path, wrong in (
        ("second.conv1.1", conv(5, 7)),
        ("head", Tree("torch.nn.Sequential", {}, (("0", conv(2, 3)),))),
    ):
        tree = net(((path, wrong),))
        found = [seen(tree, odd, recalling=recalling) for recalling in (True, True, False)]
        where = path if path != "head" else "head.0"
        assert isinstance(found[0], str) and found[0].startswith(f"{where}: forward fails: ")
        assert len(set(map(str, found))) == 1


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Paths of the modules that are run by themselves in train mode."""
    paths: list[str] = []
    original = Scene._alone

    def alone(scene: Scene, module: nn.Module, signal: Signal) -> object:
        paths.append(scene.names[module])
        return original(scene, module, signal)

    monkeypatch.setattr(Scene, "_alone", alone)
    yield paths


def test_only_what_is_around_an_edit_is_run_again(run: list[str]) -> None:
    catalog = Catalog(Registry([], {ODD.id: ODD}))
    tree = net(EDITS["a leaf"], again=1)
    seen(net((), again=1), catalog, recalling=True)
    assert {"first", "first.conv1", "second", "second.conv1", "second.conv2", "head"} <= set(run)
    assert "hooked" not in run, "what is hooked is not run by itself"
    run.clear()
    seen(tree, catalog, recalling=True)
    assert run == ["second", "second.conv1"]
    run.clear()
    seen(tree, catalog, recalling=True)
    assert run == []


def test_what_does_more_than_compute_is_remembered_as_such(odd: Catalog) -> None:
    seen(net(EDITS["one that keeps what it gave"]), odd, recalling=True)
    marks = [key for key, value in odd.parts._values.items() if value == LIVE]
    assert any(inner("Remembers").id in key for key in marks)
    assert not any(inner("Block").id in key for key in marks)


def test_what_a_constructor_made_is_used_again(odd: Catalog, built: list[Tree]) -> None:
    block, x = Tree(f"{ODD.id}:odd.net.Block", {"width": 6}), Signal.image((2, 6, 8, 8))
    edited = block.with_node("conv1.1", Tree("torch.nn.Identity"))
    whole = parts._observed(block, odd, x)
    for _ in range(3):
        assert parts._observed(edited, odd, x).parameters == whole.parameters - 12
    assert built == [block, block]
    kept = odd.bases.peek(block.id)
    assert kept is not None and isinstance(kept[0].get_submodule("conv1.1"), nn.BatchNorm2d), "it is as it was"
    with pytest.raises(TreeError, match=r"^conv1\.1: forward fails: "):
        parts._observed(block.with_node("conv1.1", conv(6, 7)), odd, x)
    assert odd.bases.peek(block.id) is None, "what failed may be left in any state"
    net_id = Tree(ODD.id, {"width": 6}).id
    parts._observed(Tree(ODD.id, {"width": 6}, EDITS["one that is hooked"]), odd, IMAGE)
    assert odd.bases.peek(net_id) is None, "its hook left something behind"


def test_other_threads_and_other_modules_are_left_alone() -> None:
    watched = nn.ReLU()

    class Doubles:
        def __init__(self) -> None:
            self.names = {watched: ""}

        def call(self, forward: front.Forward, module: nn.Module, args: tuple[torch.Tensor], _: object) -> torch.Tensor:
            return 2 * forward(module, *args)

    before, one, found = nn.Module.__call__, torch.ones(1), list[float]()
    with front.in_front(Doubles()), front.in_front(Doubles()):  # type: ignore[arg-type]
        assert watched(one) == 2 and nn.ReLU()(one) == 1
        thread = threading.Thread(target=lambda: found.append(float(watched(one))))
        thread.start()
        thread.join()
    assert found == [1.0] and nn.Module.__call__ is before
