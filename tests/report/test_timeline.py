from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from llmastool.canonical import Json, write_json
from llmastool.report import calibration, text, timeline
from llmastool.report.inputs import Archive, best_of, load_archive
from tests.report import sample
from tests.report.page_reader import Element, Page


def load(of: Json, folder: Path) -> Archive:
    write_json(folder / "archive.json", of)
    return load_archive(folder)


def draw(archive: Archive) -> Page:
    best, points = best_of(archive.rows), calibration.predictions(archive)
    read = Page.read(str(timeline.chart(archive, best, points, width=1080)))
    assert read.problems == []
    return read


def x_of(mark: Element) -> float:
    """The middle of a dot, of which the path begins at the left."""
    return float(mark.attributes["d"].split()[0].removeprefix("M")) + 4


def test_marks_stand_where_the_time_so_far_puts_them(tmp_path: Path) -> None:
    of = sample.archive(fail=0.0)
    seconds = [float(1 + i % 7) for i in range(len(of["entries"]))]
    for entry, took in zip(of["entries"], seconds, strict=True):
        entry["outcome"]["seconds"] = took
    archive = load(of, tmp_path)
    assert timeline.moments(archive.rows) == list(itertools.accumulate(seconds))
    dots = {int(e.attributes["data-c"]): x_of(e) for e in draw(archive).all("path", "dot")}
    assert len(dots) > 20
    first, last = min(dots), max(dots)
    scale = (dots[last] - dots[first]) / (sum(seconds[: last + 1]) - sum(seconds[: first + 1]))
    for order, x in dots.items():
        assert x == pytest.approx(dots[first] + scale * sum(seconds[first + 1 : order + 1]), abs=0.2)


def test_a_prediction_is_a_bar_of_two_spreads_at_its_candidate(tmp_path: Path) -> None:
    of = sample.archive(rounds=2, per_round=3, fail=0.0)
    accuracies = [90.0, 91.0, 92.0, 93.0, 93.0, 93.0, 94.0, 94.0, 94.0]
    for entry, accuracy in zip(of["entries"], accuracies, strict=True):
        entry["outcome"]["metrics"]["validation_accuracy"] = accuracy
        if entry["candidate"]["round"] == 2:
            entry["candidate"]["plan"] |= {"reason": "diversity quota", "expected_gain": 0.5, "spread": 0.25}
    archive = load(of, tmp_path)
    points = calibration.predictions(archive)
    parents = [archive.parent(p.row) for p in points]
    assert [timeline.predicted(p) for p in points] == [(r.accuracy or 0) + 0.5 for r in parents if r]
    read = draw(archive)
    bars = [re.findall(r"-?[\d.]+", e.attributes["d"]) for e in read.all("path", "bar")]
    dots = {int(e.attributes["data-c"]): x_of(e) for e in read.all("path", "dot")}
    assert len(bars) == len(points) == 3
    grid = {float(e.text): float(e.attributes["y"]) - 4 for e in read.all("text", "tick") if "." not in e.text}
    pixels = (grid[90] - grid[94]) / 4
    for p, bar in zip(points, bars, strict=True):
        x, low, high, _, middle = (float(value) for value in bar[:5])
        if p.row.order in dots:
            assert x == pytest.approx(dots[p.row.order], abs=0.2)
        assert low - high == pytest.approx(2 * 0.25 * pixels, abs=0.3)
        assert middle == pytest.approx(grid[90] - (timeline.predicted(p) - 90) * pixels, abs=0.3)


def test_what_no_posterior_predicted_has_no_bar(tmp_path: Path) -> None:
    archive = load(sample.archive(rounds=1), tmp_path)
    assert len(archive.trained) > 5
    read = draw(archive)
    assert read.all("path", "bar") == [] and len(read.all("path", "m")) == len(archive.trained)
    assert "prediction" not in timeline.summary(archive, best_of(archive.rows), [])


def test_a_wild_prediction_does_not_flatten_the_rest(tmp_path: Path) -> None:
    of = sample.archive(fail=0.0)
    for entry in of["entries"]:
        entry["outcome"]["metrics"]["validation_accuracy"] *= 0.3
    of["entries"][-1]["candidate"]["plan"] |= {"reason": "diversity quota", "expected_gain": 60.0, "spread": 5.0}
    of["entries"][-2]["candidate"]["plan"] |= {"reason": "diversity quota", "expected_gain": -60.0, "spread": 5.0}
    archive = load(of, tmp_path)
    ticks = [float(e.text) for e in draw(archive).all("text", "tick") if e.attributes["text-anchor"] == "end"]
    assert max(ticks) <= 35.0 and min(ticks) >= 0.0


def test_the_summary_says_how_long_it_took(tmp_path: Path) -> None:
    of = sample.archive(fail=0.0)
    for entry in of["entries"]:
        entry["outcome"]["seconds"] = 360.0
    of["entries"][4]["outcome"] |= {"gate": "numerics", "metrics": {}}
    archive = load(of, tmp_path)
    best = best_of(archive.rows)
    assert best is not None
    said = timeline.summary(archive, best, calibration.predictions(archive)).replace(text.NARROW_SPACE, " ")
    after = text.duration(360.0 * (best.order + 1)).replace(text.NARROW_SPACE, " ")
    assert "Trainings took 3.5 hours if" in said and f"{best.name} came after {after}." in said
    assert "The time of 1 candidate without a result counts too." in said
    near = sum(abs(p.came - p.expected) <= 0.6 for p in calibration.predictions(archive))
    assert f"{near} came within one spread" in said
    assert "no times to draw" in timeline.summary(archive, None, [])


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(None, "–"), (0.0, "0.0 seconds"), (119.0, "119.0 seconds"), (120.0, "2.0 minutes"), (7200.0, "2.0 hours")],
)
def test_a_time_is_written_in_a_unit_that_fits(seconds: float | None, written: str) -> None:
    assert text.duration(seconds).replace(text.NARROW_SPACE, " ") == written
