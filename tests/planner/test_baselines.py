"""Each baseline does what its paper says."""

from __future__ import annotations

from collections import Counter

import pytest

from llmastool.errors import ConfigError
from llmastool.planner.baselines.common import ALL
from llmastool.planner.baselines.evolution import Evolution, EvolutionConfig
from llmastool.planner.baselines.largest_first import LargestFirst, LargestFirstConfig
from llmastool.planner.baselines.local_search import RESTART, LocalSearch, LocalSearchConfig
from llmastool.planner.baselines.random_search import RandomSearch
from llmastool.planner.plan import FRESH, Plan, Record
from tests.planner.synthetic import Network, draw, fresh, options, record

NETWORKS = draw(60, seed=4)


def _told(*accuracies: float | None) -> list[Record]:
    return [record(n, accuracy) for n, accuracy in zip(NETWORKS, accuracies, strict=False)]


def _evolution(population: int = 5, sample: int = 2, seed: int = 0) -> Evolution:
    return Evolution(EvolutionConfig(population=population, sample=sample), seed)


def test_random_search_takes_each_network_as_often_as_another() -> None:
    choice = fresh(NETWORKS[:4])
    counts = Counter(RandomSearch(seed).plan([], choice, 1, round=0)[0][0].tree for seed in range(400))
    assert len(counts) == 4 and all(60 < count < 140 for count in counts.values())
    rounds = {RandomSearch(0).plan([], choice, 1, round=number)[0][0].tree for number in range(20)}
    assert len(rounds) == 4, "rounds differ"


def test_evolution_begins_with_networks_drawn_anew_until_its_population_is_full() -> None:
    strategy = _evolution(population=4)
    young = _told(50.0, 51.0, 52.0)
    assert strategy.wishes(young, 8, round=1).fresh == 8 and strategy.wishes(young, 8, round=1).edits == 0
    assert strategy.wishes(_told(50.0, None, 52.0, 51.0), 8, round=1).edits == 0, "one that fell takes no place"
    old = strategy.wishes(_told(50.0, 51.0, 52.0, 53.0), 8, round=1)
    assert old.edits == ALL and old.parents


def test_a_tournament_is_won_by_the_best_of_the_sample() -> None:
    """With replacement: of 2 draws out of 5, the best network is in with probability 1 - (4/5)^2."""
    records = _told(50.0, 54.0, 52.0, 51.0, 53.0)
    first = Counter(_evolution(seed=seed).wishes(records, 1, round=1).parents[0] for seed in range(600))
    share = [first[NETWORKS[i].id] / 600 for i in (1, 4, 2, 3, 0)]
    assert share == pytest.approx([9 / 25, 7 / 25, 5 / 25, 3 / 25, 1 / 25], abs=0.06)
    assert first[NETWORKS[0].id], "the worst wins where it is drawn twice"


def test_the_oldest_leaves_however_good_it_is() -> None:
    records = _told(99.0, 50.0, 51.0, None, 52.0, 53.0, 54.0)
    parents = {
        tree for number in range(60) for tree in _evolution().wishes(records, 4, round=number).parents
    }  # the five trained last: the best of all, trained first, is none of them, nor is the one that fell
    assert parents == {NETWORKS[i].id for i in (1, 2, 4, 5, 6)}


def test_a_child_is_one_edit_of_its_parent_drawn_evenly() -> None:
    records = _told(50.0, 50.0, 50.0, 50.0, 90.0)
    strategy = _evolution(sample=5)
    picked: Counter[str] = Counter()
    for number in range(300):
        wishes = strategy.wishes(records, 1, round=number)
        choice, _ = options([n for n in NETWORKS if n.id in wishes.parents], {r.tree for r in records})
        (plan,), _ = strategy.plan(records, choice, 1, round=number)
        assert plan.parent == wishes.parents[0] and plan.reason == "evolution" and not plan.after
        picked[plan.kind] += plan.parent == NETWORKS[4].id
    kinds = Counter(kind for _, kind, _, _ in NETWORKS[4].neighbours())
    expected = [kinds[kind] / sum(kinds.values()) for kind in sorted(kinds)]
    assert [picked[kind] / sum(picked.values()) for kind in sorted(kinds)] == pytest.approx(expected, abs=0.08)


def test_a_parent_without_untried_edits_gives_its_turn_away() -> None:
    records = _told(50.0, 51.0, 52.0, 53.0, 54.0)
    strategy = _evolution()
    wishes = strategy.wishes(records, 2, round=1)
    assert len(wishes.parents) > 1
    rest = [n for n in NETWORKS if n.id in wishes.parents[1:]]
    plans, _ = strategy.plan(records, options(rest, set())[0], 2, round=1)
    assert len(plans) == 2 and {plan.parent for plan in plans} <= {n.id for n in rest}
    (plan,), _ = strategy.plan(records, fresh(NETWORKS[9:10]), 2, round=1)
    assert plan.kind == FRESH, "and where no winner has one, the search goes on"


def _local(start: int = 3, seed: int = 0) -> LocalSearch:
    return LocalSearch(LocalSearchConfig(start=start), seed)


def _planned(network: Network, accuracy: float | None, reason: str = "local search") -> Record:
    (option,) = fresh([network])
    return record(network, accuracy, Plan.of(option, reason).to_json())


def test_local_search_edits_the_best_of_its_start() -> None:
    assert _local().wishes(_told(50.0, None, 55.0), 4, round=1).fresh == 4
    records = _told(50.0, 55.0, 52.0, None)
    wishes = _local().wishes(records, 4, round=1)
    assert wishes.parents == (NETWORKS[1].id,) and wishes.edits == ALL
    choice, _ = options([NETWORKS[1]], set())
    plans, _ = _local().plan(records, choice, 4, round=1)
    assert len(plans) == 4 and {plan.parent for plan in plans} == {NETWORKS[1].id}
    orders = {tuple(p.key for p in _local(seed=seed).plan(records, choice, 4, round=1)[0]) for seed in range(6)}
    assert len(orders) == 6, "the order is random"


def test_local_search_moves_to_the_first_that_is_better_and_to_no_other() -> None:
    records = _told(50.0, 55.0, 52.0)
    worse, equal, better = NETWORKS[10:13]
    later = [*records, record(worse, 54.0), record(equal, 55.0)]
    assert _local().wishes(later, 1, round=3).parents == (NETWORKS[1].id,)
    assert _local().wishes([*later, record(better, 55.1)], 1, round=4).parents == (better.id,)


def test_local_search_restarts_where_nothing_untried_is_left() -> None:
    records = _told(50.0, 55.0, 52.0)
    anew = NETWORKS[20:22]
    plans, report = _local().plan(records, fresh(anew), 4, round=5)
    assert [(p.kind, p.reason) for p in plans] == [(FRESH, RESTART)] and report.rules == {RESTART: 1}
    restarted = [*records, _planned(anew[0], 40.0, RESTART)]
    assert _local().wishes(restarted, 4, round=6).parents == (anew[0].id,), "what was better before counts no more"
    fallen = [*records, _planned(anew[0], None, RESTART)]
    assert _local().wishes(fallen, 4, round=6).parents == () and _local().wishes(fallen, 4, round=6).fresh == 1
    assert _local().plan(fallen, fresh(anew[1:]), 4, round=6)[0][0].reason == RESTART


def test_the_largest_come_first_and_the_largest_are_edited() -> None:
    records = _told(50.0, 55.0, 52.0, None, 51.0)
    strategy = LargestFirst(LargestFirstConfig(parents=2, fresh=3))
    wishes = strategy.wishes(records, 5, round=1)
    sizes = {n.id: n.profile().parameters for n in NETWORKS}
    trained = sorted((r.tree for r in records if r.accuracy), key=lambda tree: -sizes[tree])
    assert list(wishes.parents) == trained[:2] and wishes.fresh == 5
    choice = [*options(NETWORKS[:2], set())[0], *fresh(NETWORKS[10:20])]
    plans, _ = strategy.plan(records, choice, 6, round=1)
    shown = {option.key: option.profile.parameters for option in choice}
    largest = sorted({(option.profile.parameters, option.tree) for option in choice}, reverse=True)[:6]
    assert [shown[plan.key] for plan in plans] == [size for size, _ in largest]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EvolutionConfig(population=0), r"population: expected 1 or more, got 0"),
        (lambda: EvolutionConfig(population=4, sample=5), r"sample: expected 1 to population \(4\), got 5"),
        (lambda: LocalSearchConfig(start=0), r"start: expected 1 or more, got 0"),
        (lambda: LargestFirstConfig(parents=0), r"parents: expected 1 or more, got 0"),
        (lambda: LargestFirstConfig(fresh=0), r"fresh: expected 1 or more, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]
