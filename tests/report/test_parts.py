from __future__ import annotations

import html
import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmastool.canonical import Json, write_json
from llmastool.outcome import GATES
from llmastool.planner.report import NO_POSTERIOR, SCORED, Effect
from llmastool.report import calibration, charts, lineage, marks, tables, text, winner
from llmastool.report.inputs import Archive, best_of, load_archive
from llmastool.report.svg import Scale, el
from llmastool.trees.tree import Tree
from tests.report import sample
from tests.report.page_reader import Page


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return load(sample.archive(), tmp_path)


def load(of: Json, folder: Path) -> Archive:
    write_json(folder / "archive.json", of)
    return load_archive(folder)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "–"),
        (0, "0"),
        (950, "950"),
        (999.7, "1.00 k"),
        (84_600, "84.6 k"),
        (999_800, "1.00 M"),
        (2_411_904, "2.41 M"),
    ],
)
def test_si(value: float | None, written: str) -> None:
    assert text.si(value).replace(text.NARROW_SPACE, " ") == written


def test_tick_drops_needless_digits() -> None:
    assert [text.tick(v).replace(text.NARROW_SPACE, " ") for v in (20_000, 1_500_000, -0.5, 0)] == [
        "20 k",
        "1.5 M",
        "−0.5",
        "0",
    ]


@given(st.text(), st.text())
def test_any_text_is_one_element_with_that_text(body: str, attribute: str) -> None:
    page = Page.read(str(el("text", body, class_=attribute)))
    assert page.problems == []
    assert [e.tag for e in page.elements] == ["text"]
    plain = text.clean(body, 10**6).replace("\r", "\n")
    assert page.elements[0].text == html.unescape(html.escape(plain))


@given(st.text(max_size=300), st.integers(2, 100))
def test_clean_is_short_visible_and_done_once(body: str, limit: int) -> None:
    cleaned = text.clean(body, limit)
    assert len(cleaned) <= limit
    assert not text.UNSAFE.search(cleaned)
    assert text.clean(cleaned, limit) == cleaned


@given(st.floats(1, 1e9), st.floats(1.01, 1e6), st.booleans())
def test_ticks_lie_in_the_domain_and_rise(low: float, factor: float, log: bool) -> None:
    scale = Scale(low, low * factor, 0.0, 100.0, log)
    ticks = scale.ticks(5)
    assert ticks == sorted(set(ticks))
    assert 1 <= len(ticks) <= 12
    assert all(low * 0.99 <= tick <= low * factor * 1.01 for tick in ticks)


def test_scale_keeps_values_inside() -> None:
    scale = Scale(10.0, 1000.0, 0.0, 100.0, log=True)
    assert [scale(v) for v in (0, 10, 100, 1000, 1e9)] == pytest.approx([0, 0, 50, 100, 100])


def test_pareto_front_is_beaten_by_nobody(archive: Archive) -> None:
    front = charts.pareto(archive.rows, "parameters")
    for row in front:
        rivals = [r for r in archive.trained if r.parameters <= row.parameters and r.order != row.order]  # type: ignore[operator]
        assert all(r.accuracy < row.accuracy for r in rivals)  # type: ignore[operator]
    for row in archive.trained:
        assert any(f.parameters <= row.parameters and f.accuracy >= row.accuracy for f in front)  # type: ignore[operator]


def test_one_bad_value_does_not_flatten_the_axis() -> None:
    assert marks.floor_of([10.0] + [95.0 + i / 10 for i in range(20)]) > 90.0
    assert marks.floor_of([10.0, 50.0, 90.0]) == 10.0


def test_ancestry_goes_from_the_start_to_the_best(archive: Archive) -> None:
    best = best_of(archive.rows)
    assert best is not None
    steps = lineage.ancestry(archive, best)
    assert steps[0].row.is_start
    assert steps[-1].row is best
    for before, after in itertools.pairwise(steps):
        assert after.row.candidate.parent == before.row.candidate.id
        assert after.gain == pytest.approx(after.row.accuracy - before.row.accuracy)  # type: ignore[operator]


def test_a_network_drawn_anew_begins_a_way_and_a_pair_counts_as_two_edits(tmp_path: Path) -> None:
    of = sample.archive(rounds=2, fail=0.0)
    first, second = (e for e in of["entries"] if e["candidate"]["round"] > 0 and e["candidate"]["index"] == 0)
    drawn = {"parent": "", "slot": "", "kind": "fresh", "reason": "local search, restart"}
    first["candidate"] |= {"parent": None, "plan": first["candidate"]["plan"] | drawn}
    second["candidate"]["parent"] = first["candidate"]["id"]
    second["candidate"]["plan"] |= {"after": "delete stem (0123456789abcdef)", "reason": "evolution"}
    for entry, accuracy in ((first, 99.5), (second, 99.6)):
        entry["outcome"]["metrics"]["validation_accuracy"] = accuracy
    archive = load(of, tmp_path)
    best = best_of(archive.rows)
    assert best is not None and best.candidate.id == second["candidate"]["id"]
    steps = lineage.ancestry(archive, best)
    assert [(step.row.is_start, step.row.edits) for step in steps] == [(False, 0), (False, 2)]
    said = lineage.summary(archive, best)
    assert "a start population, and 1 drawn anew." in said and said.endswith("in 2 edits.")
    (begun,) = (row for row in archive.rows if row.candidate.id == first["candidate"]["id"])
    assert "The best was drawn anew: " in lineage.summary(archive, begun)
    judged = {p.row.order for p in calibration.predictions(archive)}
    assert judged and not judged & {best.order, begun.order}, "a baseline predicts nothing"


def test_no_two_candidates_stand_in_one_place(archive: Archive) -> None:
    way = [step.row for step in lineage.ancestry(archive, best_of(archive.rows))]
    places = lineage.place(archive, lineage.columns(archive, way), 100.0)
    points = [point for passed in places.values() for point in passed]
    assert len(points) == len(set(points))
    for row in archive.rows:
        parent = archive.parent(row)
        if parent is not None:
            assert places[parent.order][-1][0] < places[row.order][0][0]


def test_parents_in_a_circle_end(tmp_path: Path) -> None:
    of = sample.archive(rounds=1, fail=0.0)
    first, second = (entry["candidate"] for entry in of["entries"][:2])
    first["parent"], second["parent"] = second["id"], first["id"]
    archive = load(of, tmp_path)
    assert len(lineage.ancestry(archive, archive.rows[0])) == 2


def test_gates_count_down_to_the_trained(archive: Archive) -> None:
    counts = tables.gates(archive.rows)
    assert [count.gate for count in counts] == [gate for gate in GATES if gate not in ("ok", "stopped")]
    assert counts[0].reached == len(archive.rows)
    assert counts[-1].reached - counts[-1].fell == len(archive.trained)


def test_failures_are_grouped_and_none_is_lost(archive: Archive) -> None:
    groups = tables.failures(archive.rows)
    assert sum(len(group.rows) for group in groups) == len(archive.rows) - len(archive.trained) > 0
    assert [len(g.rows) for g in groups] == sorted((len(g.rows) for g in groups), reverse=True)


def test_funnel_sums_sources() -> None:
    rows = tables.funnel(sample.registry())
    assert [row.name for row in rows] == ["torchvision", "mymodels", "all sources"]
    assert rows[-1].counts == tuple(a + b for a, b in zip(rows[0].counts, rows[1].counts, strict=True))


def test_plans_without_a_posterior_predict_nothing(archive: Archive) -> None:
    found = calibration.predictions(archive)
    assert found
    assert {p.row.candidate.round for p in found}.isdisjoint({0, 1})
    groups = {group.name: group for group in tables.plan_groups(archive, "reason", SCORED)}
    assert groups[NO_POSTERIOR].expected is None
    assert groups["expected improvement"].expected is not None
    assert sum(group.plans for group in groups.values()) == sum(row.candidate.plan is not None for row in archive.rows)


def test_fillers_and_fallbacks_are_counted(archive: Archive) -> None:
    uses = {use.name: use for use in tables.fillers(archive.rows)}
    assert uses["rules"].fallbacks == uses["rules"].answers == tables.fallbacks(archive.rows)[0][1]
    assert uses["openai:gpt-5-mini"].tokens == uses["openai:gpt-5-mini"].answers * 1438


def test_winner_says_what_is_new_and_whence() -> None:
    start = sample.start_tree(8)
    origins: dict[str, Any] = sample.final(sample.archive())["origins"]
    node = winner.view(sample.edit(start, "stage1.0", "attention", 5), start, origins)
    by_slot = {child.slot: child for child in node.children}
    assert (node.status, by_slot["stem"].status, by_slot["stage2"].status) == ("changed", "", "")
    residual = by_slot["stage1"].children[0]
    assert (residual.name, residual.status, residual.origin.kind) == ("Residual", "new", "own")
    squeeze = residual.children[0]
    assert squeeze.origin == winner.Origin(
        "mined", "torchvision 0.29.1", "torchvision/ops/misc.py:224–262", "BSD-3-Clause"
    )
    assert [child.slot for child in squeeze.children] == ["(activation)"]


def test_parts_list_counts_modules_in_arguments_too() -> None:
    counts = {part.module: part.count for part in winner.parts(sample.start_tree(8), {})}
    assert counts[sample.BLOCK] == counts["torch.nn.BatchNorm2d"] == 4


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"$ref": "torch.nn.ReLU"}, "ReLU"),
        ({"$tuple": [1]}, "(1,)"),
        ({"$tuple": [1, [2, "a"]]}, "(1, [2, 'a'])"),
        ({"$partial": {"func": {"$ref": "a.B"}, "args": [2], "kwargs": {"eps": 0.1}}}, "partial(B, 2, eps=0.1)"),
        ({"$tree": {"module": "torch.nn.GELU"}}, "<GELU>"),
        ({"a": None}, "{'a': None}"),
    ],
)
def test_arguments_are_written_as_in_python(value: Json, written: str) -> None:
    assert winner.literal(value) == written


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("conv block", "conv block"),
        ("sequence/upsampling", "sequence/upsampling"),
        ("torch.nn.ReLU", "ReLU"),
        ("torchvision.ops.misc.Conv2dNormActivation@10b0b4b28465", "Conv2dNormActivation"),
        ('torch.nn.Conv2d{"bias":false,"kernel_size":1}', "Conv2d(bias=False, kernel_size=1)"),
        (
            'in>torch.nn.GELU>torch.nn.Conv2d{"bias":false}>torch.nn.Dropout{"p":0.2}>out',
            "in>GELU>Conv2d(bias=False)>Dropout(p=0.2)>out",
        ),
        ("{{ 7 * 7 }}", "{{ 7 * 7 }}"),
    ],
)
def test_what_the_planner_counts_is_written_for_a_reader(name: str, written: str) -> None:
    assert text.feature(name) == written


def test_unknown_module_is_called_unknown() -> None:
    assert winner.origin_of("somewhere.Module@1", {}).kind == "unknown"
    assert winner.view(Tree("somewhere.Module@1"), None, {}).name == "Module"


def test_of_many_effects_the_best_and_the_worst_are_shown() -> None:
    effects = [Effect(**effect) for effect in sample.EFFECTS]
    assert tables.ends(effects) == [*effects[:8], *effects[-4:]]
    assert tables.ends(effects[:12]) == effects[:12]


def test_what_was_stopped_early_is_no_failure(tmp_path: Path) -> None:
    written = sample.archive(fail=0.0)
    for entry in written["entries"][4:8]:
        entry["outcome"] |= {"gate": "stopped", "message": "left after 1 of 5 epochs"}
    found = load(written, tmp_path)
    assert len(found.stopped) == 4 and len(found.trained) == len(found.rows) - 4
    assert tables.failures(found.rows) == [] and all(gate.fell == 0 for gate in tables.gates(found.rows))
    said = marks.describe(found.rows[4], found)
    assert "left after 1 of 5 epochs, at " in said and "fell" not in said
    assert charts.progress(found, best_of(found.rows), width=800)
