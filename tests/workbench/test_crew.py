"""Tasks in copies of this process: what they return, raise and see comes back, and none of them is left over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from llmastool.errors import EditRefused
from llmastool.proposals.crew import Crew
from llmastool.proposals.trials import Trials
from llmastool.start import skeleton
from llmastool.start_config import Skeleton
from llmastool.trees.budget import Budget
from llmastool.trees.catalog import Catalog
from llmastool.trees.edits import Edit
from llmastool.trees.observe import Network
from llmastool.trees.tree import Tree

IN_SHAPE = (2, 3, 16, 16)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
"""Of later versions of Python, where other tests have started threads; the process that makes copies has none."""


@pytest.fixture
def trials() -> Trials:
    return Trials(Catalog(), IN_SHAPE, 7, Budget())


def small(channels: int) -> Tree:
    return skeleton(Skeleton(channels=channels, cells=1, stages=2), 3, 7)


def test_results_come_in_order_whoever_is_done_first(trials: Trials) -> None:
    def one(number: int) -> tuple[int, int]:
        return number, os.getpid()

    found = list(Crew(trials, 3, ()).results([partial(one, i) for i in range(10)]))
    assert [number for number, _ in found] == list(range(10))
    assert len({pid for _, pid in found}) == 3 and os.getpid() not in {pid for _, pid in found}
    alone = list(Crew(trials, 1, ()).results([partial(one, i) for i in range(10)]))
    assert {pid for _, pid in alone} == {os.getpid()}


def test_networks_come_back_and_what_was_seen_of_them_is_known_here(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Network(small(4), trials.catalog, IN_SHAPE)
    here = Network(small(6), Catalog(), IN_SHAPE)

    def build(tree: Tree) -> tuple[Network | None, Network]:
        return trials.base(tree), known

    tasks = [partial(build, small(channels)) for channels in (6, 8)]
    with closing(Crew(trials, 2, [known]).results(tasks)) as results:
        found = [next(results)]
        monkeypatch.setattr("llmastool.trees.parts._found", None)
        found.append(next(results))
    assert found[0][0] is not None and found[0][0].profile == here.profile
    assert all(same is known for _, same in found)


def test_what_a_task_raises_is_raised_here_and_no_copy_is_left(trials: Trials) -> None:
    def fail(number: int) -> int:
        if number == 1:
            raise EditRefused("stem: nothing would change")
        return number

    results = Crew(trials, 2, ()).results([partial(fail, i) for i in range(4)])
    assert next(results) == 0
    with pytest.raises(EditRefused, match=r"^stem: nothing would change$"):
        next(results)
    assert not copies()


def test_what_is_not_asked_for_is_left(trials: Trials) -> None:
    def forever(number: int) -> int:
        while number:
            signal.pause()
        return number

    with closing(Crew(trials, 3, ()).results([partial(forever, i) for i in range(3)])) as results:
        assert next(results) == 0 and len(copies()) == 2, "the first is done"
    assert not copies()


def copies() -> list[int]:
    """The children of this process that run the same command."""
    own = Path("/proc/self/cmdline").read_bytes()
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in children if Path(f"/proc/{pid}/cmdline").read_bytes() == own]


def test_where_no_more_processes_are_allowed_all_is_done_here(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    fork, made = os.fork, list[int]()

    def forks_once() -> int:
        if made:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        made.append(1)
        return fork()

    monkeypatch.setattr(os, "fork", forks_once)
    with pytest.warns(UserWarning, match="one after another, not by 2 processes: .*temporarily unavailable"):
        assert set(Crew(trials, 2, ()).results([os.getpid, os.getpid])) == {os.getpid()}
    assert not copies()


SCRIPT = """
import os, signal, sys
from functools import partial
from llmastool.proposals.crew import Crew
from llmastool.proposals.trials import Trials
from llmastool.trees.budget import Budget
from llmastool.trees.catalog import Catalog

trials = Trials(Catalog(), (2, 3, 16, 16), 7, Budget(), trying=lambda name: print(name, flush=True))

def task(number):
    trials.trying(f"number {number}")
    if number == 2:
        END
    return number

for found in Crew(trials, 2, ()).results([partial(task, i) for i in range(6)]):
    print("found", found, flush=True)
"""


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("os._exit(3)", 3),
        ("os.kill(os.getpid(), signal.SIGABRT)", -signal.SIGABRT),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("1 / 0", 1),
    ],
)
def test_where_a_copy_dies_the_process_dies_alike_and_has_said_of_what(end: str, status: int, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT).replace("END", end))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == status
    said = ["number 0", "found 0", "number 1", "found 1", "number 2"]
    assert done.stdout.splitlines() == said
    assert ("ZeroDivisionError" in done.stderr) == (status == 1)


def test_where_more_is_measured_all_is_done_here() -> None:
    trials = Trials(Catalog(), IN_SHAPE, 7, Budget(), measure=lambda _: {})
    tasks: list[Callable[[], int]] = [os.getpid, os.getpid]
    assert set(Crew(trials, 2, ()).results(tasks)) == {os.getpid()}


def test_a_tree_that_cannot_be_built_falls_there_as_it_does_here(trials: Trials) -> None:
    parent = Network(small(4), trials.catalog, IN_SHAPE)
    edits = [Edit(kind="delete", path=path) for path in ("stem", "head")]
    edits += [Edit(kind="repeat", path=parent.profile.slots[1].path, times=2), Edit(kind="delete", path="nowhere")]
    alone, crew = Trials(Catalog(), IN_SHAPE, 7, Budget()), Crew(trials, 3, [parent])
    here = [alone.edited(Network(small(4), alone.catalog, IN_SHAPE), edit) for edit in edits]
    there = list(crew.results([partial(trials.edited, parent, edit) for edit in edits]))
    ids = [network.tree.id if network is not None else None for network in here]
    assert [network.tree.id if network is not None else None for network in there] == ids
    assert trials.counts == alone.counts and sum(alone.counts.values()) == 4 and alone.counts["edit"] >= 1
