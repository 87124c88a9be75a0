from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmastool.diversity import Diversity
from llmastool.report import variety, write_report
from tests.report import sample
from tests.report.page_reader import Element, Page

ROUNDS = [
    Diversity(round=0, families=5, modules=21, distance=0.5),
    Diversity(round=1, families=6, modules=25, distance=None),
    Diversity(round=2, families=6, modules=30, distance=0.25),
]


def points(read: Page, class_: str) -> list[Element]:
    return [e for e in read.all("path", "point") if class_ in e.attributes["class"].split()]


def heights(read: Page, class_: str) -> list[float]:
    return [float(e.attributes["d"].split()[1].partition("a")[0]) for e in points(read, class_)]


def test_every_round_has_a_point_for_what_is_in_use() -> None:
    read = Page.read(str(variety.in_use(ROUNDS, width=540)))
    assert [e.text for e in points(read, "modules")] == [
        "the start population: modules in use so far: 21",
        "round 1: modules in use so far: 25",
        "round 2: modules in use so far: 30",
    ]
    modules, families = heights(read, "modules"), heights(read, "families")
    assert modules[0] > modules[1] > modules[2], "more stands higher"
    assert families[0] > families[1] == families[2]
    assert all(f > m for f, m in zip(families, modules, strict=True))


def test_a_round_without_two_networks_is_a_gap() -> None:
    read = Page.read(str(variety.apart(ROUNDS, width=540)))
    assert [e.text for e in points(read, "distance")] == [
        "the start population: mean distance 0.500",
        "round 2: mean distance 0.250",
    ]
    (line,) = read.all("path", "line")
    assert line.attributes["d"].count("M") == 2 and "L" not in line.attributes["d"]


@pytest.mark.parametrize("count", [1, 11, 40, 200])
def test_rounds_on_the_axis_are_whole_and_few(count: int) -> None:
    rounds = [Diversity(round=r, families=1, modules=1, distance=0.0) for r in range(count)]
    read = Page.read(str(variety.apart(rounds, width=400)))
    shown = [e.text for e in read.all("text", "tick") if e.attributes["text-anchor"] == "middle"]
    assert shown[0] == "start" and len(shown) <= 11
    assert all(re.fullmatch(r"\d+", text) for text in shown[1:])


@pytest.mark.parametrize(
    ("rounds", "said"),
    [
        ([], "does not say how varied the search was"),
        (ROUNDS[:1], "21 distinct modules of 5 families came into use. Two networks .* 0.50 apart"),
        (ROUNDS[1:2], "25 distinct modules of 6 families came into use. No round has two networks to compare."),
        (ROUNDS, "30 .* 6 families came into use, 21 of them of 5 families .* 0.50 .* start .* 0.25 .* round 2"),
    ],
)
def test_the_summary_says_what_there_is(rounds: list[Diversity], said: str) -> None:
    assert re.search(said, variety.summary(rounds))


def test_an_older_archive_gives_a_page_that_says_so(tmp_path: Path) -> None:
    older = sample.archive()
    del older["diversity"]
    for name, archive in (("new", sample.archive()), ("old", older)):
        folder = sample.write(tmp_path / name, archive_=archive)
        write_report(folder / "archive", folder / "final", folder / "registry", folder)
    new, old = (Page.read((tmp_path / name / "report.html").read_text()) for name in ("new", "old"))
    assert len(new.all("svg", "variety")) == 4 and old.all("svg", "variety") == []
    assert "does not say how varied the search was" in old.by_id("diversity").text
    table = new.by_id("diversity").text
    assert all(f"{d['modules']}" in table for d in sample.archive()["diversity"])
    assert "0.600" in table and "–" in table
