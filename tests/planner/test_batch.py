from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from llmastool.planner.batch import Batch
from llmastool.planner.plan import Option, Plan, Record
from llmastool.planner.success import Success
from llmastool.planner.table import Table
from tests.planner.synthetic import FAMILIES, Network, doubles, draw, fresh, options, record


def _batch(
    choice: Sequence[Option], n: int, records: Sequence[Record] = (), trials: int = 2, pending: int = 0
) -> Batch:
    table = Table()
    table.add((r.tree, r.profile) for r in records if r.profile is not None)
    table.add((option.tree, option.profile) for option in choice)
    return Batch(choice, n, records, table, trials=trials, pending=pending)


def _fill(batch: Batch, n: int) -> list[int]:
    for _ in range(n):
        batch.add(int(batch.allowed()[0]))
    return batch.picks


def _fallen(option: Option, number: int = 0) -> Record:
    return Record(
        tree=f"fallen:{number}:{option.key}", profile=None, accuracy=None, plan=Plan.of(option, "test").to_json()
    )


def test_keys_tell_options_apart() -> None:
    parent = draw(1, seed=0)[0]
    choice = [*options([parent], set())[0], *doubles(parent), *fresh(draw(9, seed=1))]
    keys = [option.key for option in choice]
    assert len(set(keys)) == len(
        {(o.parent, o.after, o.slot, o.kind, o.family, o.tree * (not o.parent)) for o in choice}
    )
    assert [Plan.of(option, "test").key for option in choice] == keys
    assert all(Plan(**Plan.of(option, "test").to_json()).key == option.key for option in choice)
    single = choice[0]
    assert replace(single, tree="another child").key == single.key
    assert replace(single, after="x").key != single.key


def test_the_rules() -> None:
    parents = draw(4, seed=0)
    choice = options(parents, set())[0]
    batch = _batch(choice, 7)
    picks = [choice[i] for i in _fill(batch, 7)]
    assert len(set(batch.picks)) == len({option.tree for option in picks}) == 7
    assert max(Counter(option.parent for option in picks).values()) == 4
    assert max(Counter((option.parent, option.slot, option.kind) for option in picks).values()) == 1


def test_no_network_twice() -> None:
    """Two edits of which neither depends on the other lead to one network in either order."""
    parent = draw(1, seed=0)[0]
    choice = doubles(parent)
    twice = Counter(option.tree for option in choice)
    both = [option for option in choice if option.tree == twice.most_common(1)[0][0]]
    assert len(both) >= 2
    assert len({option.key for option in both}) == len(both)
    other = next(option for option in choice if option.tree != both[0].tree)
    batch = _batch([*both, other], 4)
    batch.add(0)
    assert batch.allowed().tolist() == [len(both)]
    batch.add(len(both))
    assert len(batch.allowed()) == len(both) - 1, "where nothing else is left"


def test_the_rules_yield_where_nothing_else_is_left() -> None:
    parent = draw(1, seed=0)[0]
    choice = [o for o in options([parent], set())[0] if o.slot == "body.0" and o.kind == "replace"]
    assert len(set(_fill(_batch(choice, 4), 4))) == 4
    batch = _batch(choice[:2], 2)
    _fill(batch, 2)
    assert batch.allowed().tolist() == []


def test_one_parent_has_no_more_than_half() -> None:
    first, second = draw(2, seed=0)
    choice = [*options([first], set())[0], *options([second], set())[0]]
    for n, most in ((2, 1), (5, 3), (6, 3)):
        parents = Counter(choice[i].parent for i in _fill(_batch(choice, n), n))
        assert parents == {first.id: most, second.id: n - most}


def test_what_is_pending_has_its_place_but_no_share_of_a_parent() -> None:
    first, second = draw(2, seed=0)
    ours, others = options([first], set())[0], options([second], set())[0]
    batch = _batch([*ours, *others], 4, pending=1)
    picks = [batch._options[i] for i in _fill(batch, 4)]
    assert picks[0] == ours[0]
    assert Counter(option.parent for option in picks[1:]) == {first.id: 2, second.id: 2}
    assert len({(option.parent, option.slot, option.kind) for option in picks}) == 5
    assert _batch(ours, 4, pending=1).families == _batch(ours, 4).families + Counter(_batch(ours, 4)._held(0))


def test_networks_drawn_anew_do_not_block_each_other() -> None:
    choice = fresh(draw(6, seed=0))
    assert _fill(_batch(choice, 6), 6) == list(range(6))
    same = [choice[0], choice[0], choice[1]]
    batch = _batch(same, 2)
    batch.add(0)
    assert batch.allowed().tolist() == [2]


def test_a_pair_of_edits_is_at_a_place_of_its_own() -> None:
    parent, other = draw(2, seed=0)
    single = options([parent], set())[0][0]
    pair = next(o for o in doubles(parent) if (o.slot, o.kind) == (single.slot, single.kind) and o.tree != single.tree)
    same = next(
        o
        for o in doubles(parent)
        if (o.after, o.slot, o.kind) == (pair.after, pair.slot, pair.kind) and o.tree != pair.tree
    )
    batch = _batch([single, pair, same, *options([other], set())[0][:1]], 6)
    batch.add(0)
    assert batch.allowed().tolist() == [1, 2, 3]
    batch.add(1)
    assert batch.allowed().tolist() == [3]


def _only(*families: str) -> list[Record]:
    return [record(Network((family,) * 6, (width,) * 6), 50.0) for family in families for width in (1, 2)]


def test_what_no_network_holds_is_owed_first() -> None:
    records = _only(*FAMILIES[:-1])
    choice = options([Network((FAMILIES[0],) * 6, (1,) * 6)], {r.tree for r in records})[0]
    worth = np.array([0.0 if option.family == FAMILIES[-1] else 1.0 for option in choice])
    batch = _batch(choice, 6, records)
    novelty = np.ones(len(choice))
    for _ in range(2):
        index = _owed(batch, worth, novelty)
        assert index is not None and choice[index].family == FAMILIES[-1]
        batch.add(index)
    assert batch.families[FAMILIES[-1]] == 2
    assert _owed(batch, worth, novelty) is None


def test_a_family_gets_there_by_any_part_of_a_network() -> None:
    """Nothing planned attention, but two networks hold it."""
    mixed = [record(Network(("attention", *("mixer",) * 5), (width,) * 6), 50.0) for width in (1, 2)]
    choice = options([Network(("mixer",) * 6, (1,) * 6)], {r.tree for r in mixed})[0]
    index = _owed(_batch(choice, 4, mixed), np.ones(len(choice)), np.ones(len(choice)))
    assert index is not None and choice[index].family not in ("attention", "mixer")


def test_nothing_is_owed_after_the_trials() -> None:
    records = _only(*FAMILIES)
    choice = options([Network((FAMILIES[0],) * 6, (3,) * 6)], {r.tree for r in records})[0]
    ones = np.ones(len(choice))
    assert _owed(_batch(choice, 4, records, trials=2), ones, ones) is None
    assert _owed(_batch(choice, 4, records, trials=3), ones, ones) is not None


def test_failures_count_as_trials() -> None:
    records = _only(*FAMILIES[:-1])
    choice = options([Network((FAMILIES[0],) * 6, (1,) * 6)], {r.tree for r in records})[0]
    ones = np.ones(len(choice))
    last = next(option for option in choice if option.family == FAMILIES[-1])
    assert _owed(_batch(choice, 4, [*records, _fallen(last)]), ones, ones) is not None
    assert _owed(_batch(choice, 4, [*records, _fallen(last, 0), _fallen(last, 1)]), ones, ones) is None


def test_what_was_seen_teaches_nothing() -> None:
    choice = options([Network((FAMILIES[0],) * 6, (1,) * 6)], set())[0]
    assert _owed(_batch(choice, 4), np.ones(len(choice)), np.zeros(len(choice))) is None
    novelty = np.zeros(len(choice))
    novelty[5] = 1.0
    assert _owed(_batch(choice, 4), np.ones(len(choice)), novelty) == 5
    assert _batch(choice, 4).in_turn(np.ones(len(choice)), novelty) == 5


def test_families_take_turns_then_kinds_then_worth() -> None:
    choice = options(draw(3, seed=0), set())[0]
    batch = _batch(choice, len(FAMILIES))
    rng = np.random.default_rng(0)
    for _ in FAMILIES:
        batch.add(batch.in_turn(rng.random(len(choice)), np.ones(len(choice))))
    assert min(batch.families[family] for family in FAMILIES) >= 1
    assert len({choice[i].kind for i in batch.picks}) > 1


def test_the_best_is_the_best_that_is_allowed() -> None:
    choice = options(draw(3, seed=0), set())[0]
    scores = np.arange(len(choice), dtype=np.float64)
    batch = _batch(choice, 4)
    assert batch.best(scores) == len(choice) - 1
    batch.add(len(choice) - 1)
    last = choice[-1]
    allowed = [i for i, o in enumerate(choice) if (o.parent, o.slot, o.kind) != (last.parent, last.slot, last.kind)]
    assert batch.best(scores) == [i for i in allowed if choice[i].tree != last.tree][-1]
    assert batch.best(np.zeros(len(choice))) == 0, "ties go to the earlier"


def test_failures_lower_what_has_failed() -> None:
    parent, elsewhere = draw(2, seed=0)
    choice = {o.family: o for o in options([parent], set())[0] if o.slot == "body.2" and o.kind == "replace"}
    failed, other = list(choice.values())[:2]
    away = replace(failed, parent=elsewhere.id, slot="s")
    good = [record(n, 50.0, Plan.of(replace(other, parent="p"), "test").to_json()) for n in draw(6, seed=1)]

    def chance(fallen: list[Option], option: Option) -> float:
        return Success([*good, *(_fallen(o, i) for i, o in enumerate(fallen))]).probability(option)

    assert chance([], failed) > chance([away], failed) > chance([away] * 3, failed) > chance([failed] * 3, failed) > 0
    assert chance([away] * 3, other) > chance([away] * 3, failed)
    assert Success([]).probability(failed) == 0.5
    assert chance([replace(failed, after="first")], failed) == pytest.approx(chance([away], failed))


def _owed(batch: Batch, scores: np.ndarray, novelty: np.ndarray) -> int | None:
    return batch.owed(batch.waiting(), scores, novelty)
