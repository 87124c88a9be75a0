"""What changed in the tree of every candidate: in its row, and beside the lineage graph when its mark is pressed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from llmastool.candidate import Candidate
from llmastool.canonical import Json, read_json
from llmastool.report import write_report
from llmastool.trees.text import diff
from tests.browser.chromium import CHROMIUM, browse
from tests.report import sample
from tests.report.page_reader import Page

browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


def page(folder: Path, archive: Json) -> str:
    sample.write(folder, archive_=archive)
    write_report(folder / "archive", folder / "final", folder / "registry", folder / "out")
    return (folder / "out" / "report.html").read_text()


def pressed(html: str, folder: Path, script: str) -> tuple[Page, dict[str, str]]:
    """Return the page after a script ran in it, and what the script left in `seen`."""
    added = f"<script>{{ const seen = {{}};\n{script}\ndocument.title = JSON.stringify(seen); }}</script>"
    html = re.sub(r"<meta http-equiv[^>]*>", "", html).replace("</body>", f"{added}</body>")
    (folder / "pressed.html").write_text(html)
    read = Page.read(browse((folder / "pressed.html").as_uri(), folder / "profile", "--dump-dom"))
    return read, json.loads(read.all("title")[0].text)


def expected(folder: Path, order: int) -> list[str]:
    archive = read_json(folder / "archive" / "archive.json")
    candidate = Candidate.from_json(archive["entries"][order]["candidate"])
    every = (Candidate.from_json(entry["candidate"]) for entry in archive["entries"])
    parent = next((other for other in every if other.id == candidate.parent), None)
    return diff(parent.tree, candidate.tree) if parent is not None else []


def test_every_row_says_what_changed_in_the_tree(tmp_path: Path) -> None:
    archive = sample.archive()
    html = page(tmp_path, archive)
    children = 0
    for order in range(len(archive["entries"])):
        row = html.split(f'<tr id="c{order}"')[1].split("</tr>")[0]
        shown = [pre.text.splitlines() for pre in Page.read(row).all("pre", "diff")]
        lines = expected(tmp_path, order)
        assert shown == ([lines] if lines else [])
        children += bool(lines)
    assert children == len(archive["entries"]) - 3


def test_of_a_long_diff_the_row_shows_the_beginning_and_says_so(tmp_path: Path) -> None:
    archive = sample.archive(rounds=1, per_round=1, fail=0.0)
    tree = archive["entries"][3]["candidate"]["tree"]
    tree["children"][0][1]["args"]["padding"] = 2
    tree["children"] += [[f"more{i}", {"module": "torch.nn.ReLU"}] for i in range(100)]
    row = page(tmp_path, archive).split('<tr id="c3"')[1].split("</tr>")[0]
    (shown,) = Page.read(row).all("pre", "diff")
    lines = expected(tmp_path, 3)
    assert lines[0].startswith("~ stem  Conv2d: padding 1 -> 2")
    assert shown.text.splitlines() == [*lines[:40], f"… and {len(lines) - 40} lines more"]


@browser
def test_a_press_on_a_mark_of_the_graph_shows_its_row_beside_it(tmp_path: Path) -> None:
    archive = sample.archive(fail=0.0)
    read, seen = pressed(
        page(tmp_path, archive),
        tmp_path,
        """
        const panel = document.getElementById("panel");
        seen.hint = panel.textContent;
        const at = (c) => document.querySelector(`svg.lineage [data-c="${c}"]`);
        at(20).dispatchEvent(new MouseEvent("click", {bubbles: true}));
        seen.first = panel.querySelector("h3").textContent;
        at(30).focus();
        at(30).dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", bubbles: true}));
        seen.second = panel.querySelector("h3").textContent;
        seen.facts = panel.querySelector("dl").textContent;
        seen.link = panel.querySelector("a[href='#c30']").textContent;
        seen.diff = panel.querySelector(".diff").textContent;
        seen.hash = location.hash;
        """,
    )
    first, second = (archive["entries"][order]["candidate"] for order in (20, 30))
    assert seen["hint"].startswith("Press a mark")
    assert (seen["first"], seen["second"]) == tuple(Candidate.from_json(c).name for c in (first, second))
    assert seen["diff"].splitlines() == expected(tmp_path, 30)
    assert seen["hash"] == "", "the page stays where it is"
    text = read.by_id("panel").text
    plan, outcome = second["plan"], archive["entries"][30]["outcome"]
    assert f"predicted {plan['expected_gain']:+.2f} ± 0.60".replace("-", "−") in text
    assert f"{outcome['metrics']['validation_accuracy']:.2f}" in seen["facts"]
    assert f"round{second['round']}" in re.sub(r"\s", "", seen["facts"]) and second["change"] in text
    assert [e.attributes["data-c"] for e in read.elements if "aria-current" in e.attributes] == ["30"]


@browser
def test_marks_of_other_charts_lead_to_the_row_and_one_mark_of_the_graph_is_a_stop(tmp_path: Path) -> None:
    archive = sample.archive()
    read, seen = pressed(
        page(tmp_path, archive),
        tmp_path,
        """
        const field = document.getElementById("filter");
        field.value = "nowhere";
        field.dispatchEvent(new Event("input"));
        document.querySelector('svg.progress [data-c="5"]').dispatchEvent(new MouseEvent("click", {bubbles: true}));
        seen.hash = location.hash;
        const first = document.querySelector('svg.lineage [data-c="0"]');
        first.focus();
        first.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
        seen.focus = document.activeElement.dataset.c;
        document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: " ", bubbles: true}));
        seen.open = document.querySelector("#panel h3").textContent;
        document.querySelector("#panel button").click();
        seen.back = document.activeElement.dataset.c;
        """,
    )
    assert (seen["hash"], seen["focus"]) == ("#c5", "1")
    assert seen["open"] == Candidate.from_json(archive["entries"][1]["candidate"]).name and seen["back"] == "1"
    assert not [e for e in read.elements if "aria-current" in e.attributes], "closed"
    assert "hidden" not in read.by_id("c5").attributes
    stops = [e.attributes["data-c"] for e in read.all("path") if e.attributes.get("tabindex") == "0"]
    assert stops == ["1"]
    assert "Press a mark" in read.by_id("panel").text


@browser
def test_a_page_of_no_candidate_has_no_panel(tmp_path: Path) -> None:
    html = page(tmp_path, {**sample.archive(), "entries": [], "planner_reports": []})
    read, _ = pressed(html, tmp_path, "")
    assert read.by_id("tip").tag == "div" and "hidden" in read.by_id("panel").attributes
