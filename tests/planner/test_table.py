from __future__ import annotations

import numpy as np
import pytest

from llmastool.planner import table as module
from llmastool.planner.features import GROUPS, SIZES, features
from llmastool.planner.table import Table
from llmastool.trees.profile import Profile
from tests.planner.synthetic import Network, draw, slot


def _cells(table: Table, tree: str) -> dict[str, dict[str, float]]:
    """What a tree's row says, zeros left out."""
    rows = {group: matrix[0] for group, matrix in table.values([tree]).items()}
    return {
        group: {name: value for name, value in zip(table.names(group), rows[group].tolist(), strict=True) if value}
        for group in GROUPS
    }


def test_rows_hold_what_features_say() -> None:
    networks = draw(12, seed=0)
    table = Table()
    ids = table.add((n.id, n.profile()) for n in networks)
    assert ids == [n.id for n in networks]
    for network in networks:
        said = {g: {k: v for k, v in part.items() if v} for g, part in features(network.profile()).items()}
        assert _cells(table, network.id) == said
    both = table.values([ids[3], ids[0], ids[3]])
    for group in GROUPS:
        assert np.array_equal(both[group][[0, 1]], table.values([ids[3], ids[0]])[group])
        assert np.array_equal(both[group][0], both[group][2])


def test_columns_keep_their_place_when_others_come() -> None:
    first, *others = draw(30, seed=0)
    table = Table()
    table.add([(first.id, first.profile())])
    names = {group: table.names(group) for group in GROUPS}
    before = table.values([first.id])
    table.add((n.id, n.profile()) for n in others)
    after = table.values([first.id])
    for group in GROUPS:
        width = len(names[group])
        assert table.names(group)[:width] == names[group]
        assert np.array_equal(after[group][:, :width], before[group])
        assert not after[group][:, width:].any()
    assert after["motif"].shape[1] > before["motif"].shape[1]


def test_what_is_forgotten_can_come_again() -> None:
    networks = draw(20, seed=0)
    table = Table()
    ids = table.add((n.id, n.profile()) for n in networks)
    before = {tree: (_cells(table, tree), table.families(tree)) for tree in ids}
    table.forget(set(ids[::2]) | {"never there"})
    assert [tree in table for tree in ids] == [False, True] * 10
    assert all((_cells(table, tree), table.families(tree)) == before[tree] for tree in ids[1::2])
    with pytest.raises(KeyError):
        table.values(ids[:1])
    table.add((n.id, n.profile()) for n in networks)
    assert all((_cells(table, tree), table.families(tree)) == before[tree] for tree in ids)


def test_a_part_of_a_table_is_as_if_nothing_else_had_been() -> None:
    networks = draw(40, seed=0)
    whole, alone = Table(), Table()
    whole.add((n.id, n.profile()) for n in networks)
    some = [networks[i] for i in (31, 5, 18, 5, 0)]
    ids = alone.add((n.id, n.profile()) for n in some)
    part, same = whole.only(ids), alone.only(ids)
    for group in GROUPS:
        assert part.names(group) == same.names(group)
        assert set(part.names(group)) == set(alone.names(group))
        assert np.array_equal(part.values(ids)[group], same.values(ids)[group])
    assert len(part.names("motif")) < len(whole.names("motif"))
    assert all(part.families(tree) == whole.families(tree) for tree in ids)
    assert whole.only([]).values([])["cost"].shape == (0, 2)


def test_a_later_part_keeps_the_columns_of_an_earlier_one() -> None:
    networks = draw(40, seed=0)
    table = Table()
    ids = table.add((n.id, n.profile()) for n in networks)
    earlier = table.only(ids[:6])
    later = table.only(ids[4:12], after=earlier)
    fresh = table.only(ids[4:12])
    for group in GROUPS:
        width = len(earlier.names(group))
        assert later.names(group)[:width] == earlier.names(group)
        assert set(later.names(group)) == set(earlier.names(group)) | set(fresh.names(group))
        at = [later.names(group).index(name) for name in fresh.names(group)]
        assert np.array_equal(later.values(ids[4:12])[group][:, at], fresh.values(ids[4:12])[group])
        assert np.array_equal(later.values(ids[4:6])[group][:, :width], earlier.values(ids[4:6])[group])


def test_sizes_are_the_first_costs() -> None:
    assert tuple(Table().names("cost")[:2]) == SIZES
    assert Table().values([])["cost"].shape == (0, 2)


def test_every_tree_is_described_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Profile] = []

    def counted(profile: Profile) -> dict[str, dict[str, float]]:
        asked.append(profile)
        return features(profile)

    monkeypatch.setattr(module, "features", counted)
    networks = draw(5, seed=0)
    table = Table()
    for _ in range(3):
        table.add((n.id, n.profile()) for n in networks)
        table.values([n.id for n in networks])
    assert len(asked) == 5


def test_families_of_all_known_modules() -> None:
    network = Network(("mixer",) * 3 + ("pooling",) * 3, (1,) * 6)
    profile = network.profile()
    foreign = Profile(**{**vars(profile), "slots": (*profile.slots, slot("x", "unknown", (2, 16, 4, 4), 5))})
    table = Table()
    table.add([("known", profile), ("foreign", foreign)])
    assert table.families("known") == table.families("foreign") == {"network", "mixer", "pooling"}
    with pytest.raises(KeyError):
        table.families("never added")
