"""The workbench: what it answers, and what is left of a process in which mined code turns on it."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from llmastool import sandbox
from llmastool.errors import ConfigError, RegistryError, TreeError
from llmastool.mining.bundle import Bundle
from llmastool.mining.mine import mine_source
from llmastool.mining.sources import SourceSpec
from llmastool.planner.plan import Option, Plan, Wishes
from llmastool.registry.record import Probe
from llmastool.registry.store import Registry, write_registry
from llmastool.start import skeleton
from llmastool.start_config import MinedNetwork, Skeleton, StartConfig
from llmastool.trees.budget import Budget, Fell
from llmastool.trees.catalog import Catalog
from llmastool.trees.observe import Network
from llmastool.trees.profile import Profile
from llmastool.trees.tree import Tree
from llmastool.workbench import client
from llmastool.workbench.client import Died, Workbench

IN_SHAPE = (2, 3, 16, 16)
SMALL = StartConfig(skeletons=(Skeleton(channels=4, cells=1, stages=2),))

HOSTILE = '''
import os, pathlib, time, torch
from torch import nn


class Calm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return self.conv(x)


class Dies(Calm):
    """It ends the process that runs it."""

    def forward(self, x):
        os._exit(3)


class Hangs(Calm):
    def forward(self, x):
        while True:
            time.sleep(0.1)


class Writes(Calm):
    """It writes where it may not, and tells what it can read of the environment."""

    def forward(self, x):
        for folder in ("<outside>", os.path.expanduser("~"), "/tmp"):
            try:
                pathlib.Path(folder, "<mark>").write_text("here")
            except OSError:
                pass
        raise ValueError(f"{sorted(k for k in os.environ if 'SECRET' in k)}")


class Lies(Calm):
    """It writes to the standard streams, as if it were the process itself."""

    def forward(self, x):
        for stream in (0, 1):
            try:
                os.write(stream, b'{"answer": {"gate": "ok", "message": "I lied"}}\\n')
            except OSError:
                pass
        return self.conv(x)
'''


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outside")


@pytest.fixture(scope="module")
def hostile(registry_folder: Path, outside: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry in which hostile modules stand with the contract of a harmless one, as if probing had missed them."""
    return evil_registry(registry_folder, outside, tmp_path_factory.mktemp("evil") / "evil")


def evil_registry(registry_folder: Path, outside: Path, root: Path, *names: str) -> Path:
    """Make that registry, of some of the hostile modules or of all."""
    root.mkdir()
    (root / "__init__.py").touch()
    (root / "nets.py").write_text(HOSTILE.replace("<outside>", str(outside)).replace("<mark>", "mark-of-the-bench"))
    mined: list[Bundle] = list(mine_source(SourceSpec(kind="path", path=str(root))).bundles)
    known = Registry.open(registry_folder)
    mined = [b for b in mined if not names or b.name.rpartition(".")[2] in names]
    harmless = ("torch.nn.Conv2d", "torch.nn.BatchNorm2d", "torch.nn.ReLU")
    probes = [_probe(known, name, name) for name in harmless]
    gate = next(e.module for e in known.entries.values() if e.name == "tiny.nets.Gate")
    probes += [_probe(known, gate, b.id, args={"channels": 8}) for b in mined]
    write_registry(root.parent / "registry", probes, mined, {}, {})
    return root.parent / "registry"


def _probe(known: Registry, like: str, module: str, args: dict[str, int] | None = None) -> Probe:
    from dataclasses import replace

    contracts = known.entries[like].contracts
    if args is not None:
        contracts = tuple(replace(c, args=args, free={}) for c in contracts)
    family = known.entries[like].family
    return Probe(module=module, stage="ok", family=family, contracts=contracts, args=dict(contracts[0].args))


@pytest.fixture(scope="module")
def start() -> Tree:
    return skeleton(Skeleton(channels=4, cells=1, stages=2), 3, 7)


def named(folder: Path, name: str) -> str:
    return Catalog.open(folder).by_name(f"evil.nets.{name}")


def holding(start: Tree, module: str) -> Tree:
    """Return a tree with a module behind its stem."""
    return start.with_node("stem", Tree("torch.nn.Sequential", {}, (
        *start.at("stem").children, ("2", Tree(module, {"channels": 4})),  # type: ignore[union-attr]
    )))  # fmt: skip


def test_profiles_are_those_of_the_network(registry_folder: Path, start: Tree) -> None:
    network = Network(start, Catalog.open(registry_folder), IN_SHAPE)
    with Workbench(registry_folder, IN_SHAPE, 7) as bench:
        assert bench.check(start) == network.profile == bench.look(start)
    assert Profile.from_json(network.profile.to_json()) == network.profile


def test_what_falls_says_at_which_gate(registry_folder: Path, start: Tree) -> None:
    with Workbench(registry_folder, IN_SHAPE, 9, Budget(parameters=10)) as bench:
        found = bench.check(start)
        assert isinstance(found, Fell) and found.gate == "shape" and "(2, 9), got (2, 7)" in str(found)
        with pytest.raises(TreeError, match="<root>: forward fails"):
            bench.look(Tree("torch.nn.Conv2d", {"in_channels": 5, "out_channels": 2, "kernel_size": 1}))
        with pytest.raises(RegistryError, match="nowhere"):
            bench.look(Tree("nowhere.Net@0123"))
    with Workbench(registry_folder, IN_SHAPE, 7, Budget(parameters=10)) as bench:
        found = bench.check(start)
        assert isinstance(found, Fell) and found.gate == "budget"


def test_the_start_population_comes_with_what_became_of_it(registry_folder: Path) -> None:
    config = StartConfig(skeletons=(Skeleton(channels=4, cells=1, stages=2), Skeleton(channels=400, cells=1)))
    with Workbench(registry_folder, IN_SHAPE, 7, Budget(parameters=100_000)) as bench:
        small, large = bench.start(config)
        assert small.name == "skeleton 4x1x2" and isinstance(small.found, Profile)
        assert isinstance(large.found, Fell) and large.found.gate == "budget"
        with pytest.raises(ConfigError, match=r"start\.mined\[0\] \(tiny\.nets\.NoNet\)"):
            bench.start(StartConfig(mined=(MinedNetwork(module="tiny.nets.NoNet"),)))


def test_options_and_questions_are_the_same_in_another_process(registry_folder: Path, start: Tree) -> None:
    def asked() -> tuple[list[Option], object]:
        with Workbench(registry_folder, IN_SHAPE, 7) as bench:
            wishes = Wishes(parents=(start.id,), edits=8, doubles=3, fresh=2)
            options, counts = bench.options(wishes, {start.id: start}, start=SMALL, seed=(3, "pool", 1))
            assert counts["ok"] >= len(options) == 13
            found, counts = bench.questions([_plan(o) for o in options[::3]], 3, 1)
            assert len(found) == 5 and all(a.children for a in found)
            return options, [a.to_json() for a in found]

    assert asked() == asked()


def test_options_keep_to_the_budget_that_they_are_asked_with(registry_folder: Path, start: Tree) -> None:
    wishes = Wishes(parents=(start.id,), edits=12, doubles=3, fresh=2)
    with Workbench(registry_folder, IN_SHAPE, 7) as bench:
        cost = bench.look(start).flops
        most = []
        for budget in (None, Budget(flops=cost)):
            options, counts = bench.options(wishes, {start.id: start}, start=SMALL, seed=(3, "pool", 1), budget=budget)
            most.append(max(option.profile.flops for option in options))
        assert most[1] <= cost < most[0] and counts["budget"] > 0


def _plan(option: Option) -> Plan:
    return Plan.of(option, "no posterior yet")


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_an_edit_that_ends_the_process_is_a_crash_and_the_others_go_on(
    processes: int, hostile: Path, start: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies = named(hostile, "Dies")
    monkeypatch.setattr(client, "SILENCE", 8.0)  # for the one that hangs
    with Workbench(hostile, IN_SHAPE, 7, processes=processes) as bench:
        with pytest.warns(UserWarning, match="an edit is left out") as warned:
            wishes = Wishes(parents=(start.id,), edits=40)
            options, counts = bench.options(wishes, {start.id: start}, start=SMALL, seed=(0, "pool", 1))
            assert len(options) >= 8
            assert all(dies not in [s.module for s in option.profile.slots] for option in options)
            found, counts = bench.questions([_plan(o) for o in options[:4]], 0, 1)
        assert found and counts["crash"] >= len(warned) >= 1
        assert isinstance(bench.check(start), Profile), "and it is there for the next request"


def test_a_network_that_ends_the_process_or_hangs_falls_at_crash(
    hostile: Path, start: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Workbench(hostile, IN_SHAPE, 7) as bench:
        found = bench.check(holding(start, named(hostile, "Dies")))
        assert isinstance(found, Fell) and found.gate == "crash" and "status 3" in str(found)
        assert isinstance(bench.check(start), Profile)
        monkeypatch.setattr(client, "SILENCE", 3.0)
        with pytest.raises(Died, match="said nothing for 3 seconds"):
            bench.look(holding(start, named(hostile, "Hangs")))


def test_mined_code_cannot_answer_in_the_processs_place(hostile: Path, start: Tree) -> None:
    with Workbench(hostile, IN_SHAPE, 7) as bench:
        assert isinstance(bench.check(holding(start, named(hostile, "Lies"))), Profile)


def test_nothing_is_written_and_no_key_is_seen(
    hostile: Path, outside: Path, start: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not sandbox.isolation_works():
        pytest.skip("this machine allows no namespaces")
    monkeypatch.setenv("LLMASTOOL_TEST_SECRET", "hush")
    with Workbench(hostile, IN_SHAPE, 7) as bench:
        found = bench.check(holding(start, named(hostile, "Writes")))
    assert isinstance(found, Fell) and "[]" in str(found), "it ran, and found no secret"
    places = (outside, Path.home(), Path("/tmp"))
    assert not [p for p in places if (p / "mark-of-the-bench").exists()]


def test_a_start_network_that_ends_the_process_is_the_users_to_leave_out(hostile: Path) -> None:
    config = StartConfig(mined=(MinedNetwork(module="evil.nets.Dies", args={"channels": 3}),))
    with Workbench(hostile, IN_SHAPE, 7) as bench, pytest.raises(ConfigError, match="leave out the network"):
        bench.start(config)


def test_a_process_that_cannot_start_is_said(registry_folder: Path, start: Tree, tmp_path: Path) -> None:
    with Workbench(tmp_path / "none", IN_SHAPE, 7) as bench, pytest.raises(RegistryError, match="expected a registry"):
        bench.look(start)
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("registry.parquet", "bundles.jsonl"):
        (broken / name).write_bytes((registry_folder / name).read_bytes()[:100])
    with Workbench(broken, IN_SHAPE, 7) as bench, pytest.raises(RegistryError, match="cannot be read"):
        bench.options(Wishes(parents=(start.id,), edits=1), {start.id: start}, start=SMALL, seed=(0,))


def test_an_opened_workbench_answers_from_the_process_that_was_started(registry_folder: Path, start: Tree) -> None:
    with Workbench(registry_folder, IN_SHAPE, 7) as bench:
        bench.open()
        opened = bench._process
        assert opened is not None
        bench.open()
        bench.look(start)
        assert bench._process is opened


def test_no_process_outlives_its_workbench(registry_folder: Path, start: Tree) -> None:
    bench = Workbench(registry_folder, IN_SHAPE, 7)
    bench.look(start)
    assert bench._process is not None
    pid = bench._process.pid
    del bench
    with pytest.raises(ProcessLookupError):
        for _ in itertools.repeat(None, 50):
            os.kill(pid, 0)
