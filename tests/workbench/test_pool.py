"""The pool of a round: single edits, pairs of edits, networks drawn anew; what each of them leads to."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from llmastool.filler.question import MAX_CHOICES, Fill
from llmastool.planner.archive import dominant_family
from llmastool.planner.plan import FRESH, Option, Plan, Wishes
from llmastool.proposals.asked import Asked, Made
from llmastool.proposals.fresh import MOST_EDITS
from llmastool.proposals.pool import MOST_VALUES, MOST_VARIANTS, Child, Pool, _undoes
from llmastool.start import skeleton, variant
from llmastool.start_config import MinedNetwork, Skeleton, StartConfig
from llmastool.trees.budget import Budget
from llmastool.trees.catalog import Catalog
from llmastool.trees.diff import differences
from llmastool.trees.moves import Group
from llmastool.trees.profile import Profile
from llmastool.trees.tree import Tree
from llmastool.workbench.client import Workbench
from tests.workbench.test_workbench import evil_registry, named

IN_SHAPE = (2, 3, 16, 16)
BUDGET = Budget(parameters=60_000)
START = StartConfig(
    skeletons=(Skeleton(channels=4, cells=1, stages=2),),
    mined=(MinedNetwork(module="tiny.nets.Net", args={"widths": [4, 8]}),),
)


@pytest.fixture(scope="module")
def parents() -> dict[str, Tree]:
    trees = [skeleton(Skeleton(channels=c, cells=1, stages=2), 3, 7) for c in (4, 6)]
    return {tree.id: tree for tree in trees}


class Round:
    """A round's options, and what plans over all pairs and networks drawn anew lead to."""

    def __init__(self, registry: Path, parents: dict[str, Tree], seed: int = 0, processes: int = 1) -> None:
        self.wishes = Wishes(parents=tuple(parents), edits=10, doubles=6, fresh=4)
        with Workbench(registry, IN_SHAPE, 7, BUDGET, processes=processes) as bench:
            self.options, self.counts = bench.options(self.wishes, parents, start=START, seed=(seed, "pool", 1))
            self.plans = [Plan.of(option, "a reason") for option in self.doubles + self.fresh]
            self.asked, _ = bench.questions(self.plans, seed, 1)
            singles = [Plan.of(option, "a reason") for option in self.singles]
            self.settled, self.all_counts = bench.questions(singles, seed, 2)
            trees = {m.tree.id: m.tree for a in self.asked for m in _made(a)}
            self.checked = {tree_id: bench.check(tree) for tree_id, tree in trees.items()}

    @property
    def doubles(self) -> list[Option]:
        return [option for option in self.options if option.after]

    @property
    def fresh(self) -> list[Option]:
        return [option for option in self.options if option.kind == FRESH]

    @property
    def singles(self) -> list[Option]:
        return [option for option in self.options if not option.after and option.kind != FRESH]


@pytest.fixture(scope="module")
def found(registry_folder: Path, parents: dict[str, Tree]) -> Round:
    return Round(registry_folder, parents)


def test_as_many_of_each_sort_as_wished_for(found: Round) -> None:
    assert (len(found.singles), len(found.doubles), len(found.fresh)) == (10, 6, 4)
    assert len({option.key for option in found.options}) == len(found.options)
    assert found.counts["ok"] >= len(found.options)


def test_nothing_known_is_offered_and_no_pair_shows_what_is_shown_already(
    found: Round, parents: dict[str, Tree]
) -> None:
    assert not {option.tree for option in found.options} & set(parents)
    later = [option.tree for option in found.doubles + found.fresh]
    assert len(set(later)) == len(later) and not set(later) & {option.tree for option in found.singles}


def test_all_that_plans_lead_to_passes_the_gates(found: Round) -> None:
    assert len(found.asked) == len(found.plans)
    for asked in found.asked:
        for made in _made(asked):
            profile = found.checked[made.tree.id]
            assert isinstance(profile, Profile) and profile == made.profile
            assert profile.parameters <= BUDGET.parameters and profile.out_shape == (2, 7)
    shown = {option.tree: option.profile for option in found.options}
    assert all(shown[tree] == profile for tree, profile in found.checked.items() if tree in shown)


def test_a_pair_has_its_parent_both_changes_and_choices_for_the_second(found: Round, parents: dict[str, Tree]) -> None:
    for asked in _of(found, fresh=False):
        plan, changes = asked.plan, [made.change for made, *_ in asked.children.values()]
        assert plan.parent in parents and plan.slot
        first = plan.after.rpartition(" (")[0]
        assert re.fullmatch(r".+ \([0-9a-f]{16}\)", plan.after)
        assert all(change.startswith(f"{first}, then ") for change in changes), "the first edit is settled"
        assert len({made.tree.id for made in _made(asked)}) == len(_made(asked)) and len(changes) <= MAX_CHOICES
        assert f"edited just now: {first}\n" in asked.question.context
        assert f"slot {plan.slot}: " in asked.question.context
        candidate = _candidate(asked)
        assert (candidate.parent, candidate.change) == (plan.parent, changes[0])
        assert candidate.id == plan.tree, "what was shown comes first"
    assert any(len(asked.children) > 1 for asked in _of(found, fresh=False))


def test_what_a_choice_leaves_free_leads_to_networks_of_their_own(found: Round) -> None:
    """Single edits, asked for the same parents: their arguments are free, and so are adapters."""
    free = []
    for asked in found.settled:
        for choice in asked.question.choices:
            made = asked.children[choice.key]
            assert len(made) == (len(choice.free.values) if choice.free is not None else 1) <= MOST_VALUES
            assert len({m.tree.id for m in made}) == len(made)
            if choice.free is not None:
                free.append(choice.free)
                fill = Fill(question=asked.question.id, key=choice.key, value=1, rationale="", filler="rules")
                assert asked.candidate(fill, 1, 0).tree == made[1].tree != made[0].tree
        variants = sum(len(m) - 1 for m in asked.children.values())
        assert variants <= MOST_VARIANTS
    assert any(f.name != "adapter" for f in free)


def test_a_network_drawn_anew_leads_to_itself_and_has_no_parent(found: Round) -> None:
    for asked in _of(found, fresh=True):
        assert (asked.plan.parent, asked.plan.slot) == ("", "")
        ((made,),) = asked.children.values()
        assert made.tree.id == asked.plan.tree and asked.plan.family == dominant_family(made.profile)
        assert made.change.startswith(("skeleton ", "tiny.nets.Net, then "))
        assert 1 <= made.change.count(", then ") <= MOST_EDITS
        candidate = _candidate(asked)
        assert candidate.parent is None and candidate.plan == asked.plan.to_json() and candidate.fill is not None
        assert "a network drawn anew" in asked.question.context
    assert {m.change.split()[0] for a in _of(found, fresh=True) for m in _made(a)} == {
        "skeleton",
        "tiny.nets.Net,",
    }


def test_the_same_seed_makes_the_same_round_and_another_seed_another(
    found: Round, registry_folder: Path, parents: dict[str, Tree]
) -> None:
    again, other = Round(registry_folder, parents), Round(registry_folder, parents, seed=1)
    assert again.options == found.options
    assert [a.to_json() for a in again.asked] == [a.to_json() for a in found.asked]
    assert {o.tree for o in other.fresh} != {o.tree for o in found.fresh}
    assert [o.key for o in other.doubles] != [o.key for o in found.doubles]


@pytest.mark.parametrize("processes", [2, 5])
def test_what_a_round_holds_does_not_depend_on_how_many_processes_make_it(
    processes: int, found: Round, registry_folder: Path, parents: dict[str, Tree]
) -> None:
    again = Round(registry_folder, parents, processes=processes)
    assert again.options == found.options
    for these, those in ((again.asked, found.asked), (again.settled, found.settled)):
        assert [a.to_json() for a in these] == [a.to_json() for a in those]
    assert (again.counts, again.all_counts) == (found.counts, found.all_counts), "only what was asked for counts"


def test_networks_drawn_anew_do_not_depend_on_what_is_edited(
    found: Round, registry_folder: Path, parents: dict[str, Tree]
) -> None:
    with Workbench(registry_folder, IN_SHAPE, 7, BUDGET) as bench:
        options, _ = bench.options(Wishes(fresh=4), parents, start=START, seed=(0, "pool", 1))
        assert options == found.fresh
        nothing, _ = bench.options(Wishes(doubles=5), parents, start=START, seed=(0, "pool", 1))
        assert nothing == [], "pairs begin with single edits that are shown"


@pytest.mark.parametrize(
    "wishes",
    [
        pytest.param(Wishes(edits=2, doubles=30), marks=pytest.mark.slow, id="pairs"),
        pytest.param(Wishes(fresh=24), id="drawn anew"),
    ],
)
def test_what_kills_is_left_out_of_pairs_and_of_networks_drawn_anew(
    wishes: Wishes, registry_folder: Path, parents: dict[str, Tree], tmp_path: Path
) -> None:
    """No single edit kills here, so it is the second of a pair that does, or one after the first draw."""
    hostile = evil_registry(registry_folder, tmp_path, tmp_path / "evil", "Calm", "Dies")
    deadly = named(hostile, "Dies")
    wishes = replace(wishes, parents=tuple(parents) if wishes.edits else ())
    start = StartConfig(skeletons=START.skeletons)
    with Workbench(hostile, IN_SHAPE, 7, BUDGET) as bench:
        bench.options(replace(wishes, doubles=0, fresh=0), parents, start=start, seed=(3, "pool", 1))
        with pytest.warns(UserWarning, match="an edit is left out"):
            options, counts = bench.options(wishes, parents, start=start, seed=(3, "pool", 1))
        asked, _ = bench.questions([Plan.of(option, "a reason") for option in options[-4:]], 0, 1)
    assert counts["crash"] >= 1 and len(options) > 20 and asked
    for option in options:
        assert deadly not in {slot.module for slot in option.profile.slots} and "Dies" not in option.after


def test_a_second_edit_that_leaves_nothing_of_the_first_is_no_pair(
    registry_folder: Path, parents: dict[str, Tree]
) -> None:
    from llmastool.proposals.fresh import Fresh
    from llmastool.proposals.trials import Trials
    from llmastool.trees.moves import Moves
    from llmastool.trees.observe import Network

    catalog = Catalog.open(registry_folder)
    tree = next(iter(parents.values()))
    trials = Trials(catalog, IN_SHAPE, 7, BUDGET, seen=[tree.id])
    moves = Moves(catalog)
    fresh = Fresh((Skeleton(channels=4, cells=1, stages=2),), (), moves, trials)
    pool = Pool([Network(tree, catalog, IN_SHAPE)], moves, trials, fresh, (0, "pool", 1))
    pool.options(40)
    children = [made for made in pool._shown.values() if isinstance(made, Child)]
    first = next(c for c in children if c.group.kind == "replace" and c.group.slot.startswith("stage1"))
    slot, above = first.group.slot, first.group.slot.rpartition(".")[0]
    changed = [d.path for d in differences(first.parent.tree, first.network.tree)]
    assert _undoes(Group(slot, "replace", "x"), changed) and _undoes(Group(above, "delete", "none"), changed)
    assert _undoes(Group("", "replace", "x"), changed)
    assert not _undoes(Group(slot, "insert", "x"), changed) and not _undoes(Group("stem", "replace", "x"), changed)


def test_a_drawn_skeleton_is_near_the_one_that_was_asked_for() -> None:
    from llmastool.seeds import generator

    rng = generator(0, "test")
    drawn = [variant(Skeleton(channels=16, cells=1, stages=3), rng) for _ in range(200)]
    assert {s.channels for s in drawn} == {8, 16, 24, 32}
    assert {s.cells for s in drawn} == {1, 2} and {s.stages for s in drawn} == {2, 3, 4}
    assert variant(Skeleton(channels=1), rng).channels >= 1


def _of(found: Round, *, fresh: bool) -> list[Asked]:
    return [asked for asked in found.asked if (asked.plan.kind == FRESH) == fresh]


def _made(asked: Asked) -> list[Made]:
    return [made for variants in asked.children.values() for made in variants]


def _candidate(asked: Asked):  # type: ignore[no-untyped-def]
    key = next(iter(asked.children))
    return asked.candidate(Fill(question=asked.question.id, key=key, rationale="", filler="rules"), 1, 0)
