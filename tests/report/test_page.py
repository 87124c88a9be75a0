from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from llmastool.candidate import Candidate
from llmastool.canonical import Json, write_json
from llmastool.errors import DataError
from llmastool.report import write_report
from llmastool.report.text import UNSAFE
from llmastool.trees.tree import Tree
from tests.browser.chromium import CHROMIUM, browse
from tests.report import sample
from tests.report.page_reader import Element, Page

SECTIONS = (
    *("result", "progress", "size", "lineage", "diversity", "winner", "failures", "registry", "planner", "fills"),
    *("cost", "candidates"),
)
NASTY = " <script>alert(1)</script> \"' onmouseover=alert(2) <img src=x onerror=alert(3)> {{ 7 * 7 }} </title></style>"
SCRIPTS = " 日本語 עברית العربية हिन्दी 🧬 \u202ereversed\u202c \x1b[31mred\x1b[0m \x00 \ud800"


def make(folder: Path, **inputs: Json) -> str:
    sample.write(folder, **inputs)
    write_report(folder / "archive", folder / "final", folder / "registry", folder / "out")
    return (folder / "out" / "report.html").read_text()


def single() -> Json:
    of = sample.archive(rounds=0, fail=0.0)
    return {**of, "entries": of["entries"][:1]}


def no_times() -> Json:
    of = sample.archive()
    for entry in of["entries"]:
        entry["outcome"]["seconds"] = 0.0
    return of


LONELY = [{"round": r, "families": 1, "modules": 1, "distance": None} for r in range(3)]

CASES: dict[str, Any] = {
    "usual": lambda: {},
    "large": lambda: {"archive_": sample.archive(rounds=20, per_round=25)},
    "all failed": lambda: {"archive_": sample.archive(fail=1.0)},
    "one candidate": lambda: {"archive_": single()},
    "no candidate": lambda: {"archive_": {**sample.archive(), "entries": [], "planner_reports": [], "diversity": []}},
    "no times": lambda: {"archive_": no_times()},
    "older archive": lambda: {"archive_": {k: v for k, v in sample.archive().items() if k != "diversity"}},
    "no two networks": lambda: {"archive_": {**sample.archive(), "diversity": LONELY}},
    "no final": lambda: {"final_": {"version": 1, "best": None, "finalists": [], "origins": {}}},
    "no source": lambda: {"registry_": {"sources": [], "families": {}, "reasons": []}},
    "nothing found": lambda: {"registry_": sample.registry(found=0, sliced=0, loaded=0, built=0)},
}


@pytest.mark.parametrize("case", CASES)
def test_page_is_whole_and_self_contained(case: str, tmp_path: Path) -> None:
    html = make(tmp_path, **CASES[case]())
    page = Page.read(html)
    assert page.problems == []
    ids = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    for element in page.elements:
        assert not {"src", "srcset", "data", "action"} & set(element.attributes)
        if "href" in element.attributes:
            assert element.attributes["href"].removeprefix("#") in ids
    assert "://" not in html
    assert not re.search(r"url\(|@import|None|nan\b", html)


def test_headline_says_what_the_inputs_say(tmp_path: Path) -> None:
    archive = sample.archive()
    final = sample.final(archive)
    page = Page.read(make(tmp_path, archive_=archive, final_=final))
    best = final["finalists"][0]
    assert page.all("h1")[0].text == best["name"]
    tiles = " ".join(tile.text for tile in page.all("div", "tile"))
    assert f"{best['test_accuracy']['mean']:.2f}" in tiles
    assert "± 0.08 (3 seeds)" in tiles
    assert f"{best['validation_accuracy']:.2f}" in tiles
    ok = sum(e["outcome"]["gate"] == "ok" for e in archive["entries"])
    assert f"{ok} trained, {len(archive['entries']) - ok} fell at a gate" in tiles
    assert "fell at numerics" in page.by_id("result").text


def test_every_candidate_is_in_every_place_where_it_belongs(tmp_path: Path) -> None:
    archive = sample.archive()
    page = Page.read(make(tmp_path, archive_=archive))
    for order, entry in enumerate(archive["entries"]):
        marks = [e for e in page.elements if e.attributes.get("data-c") == str(order)]
        classes = [m.attributes["class"].split() for m in marks]
        seen = [names for names in classes if not {"choice", "quota"} & set(names)]  # leaves out predicted against came
        assert len(seen) == (
            9 if entry["outcome"]["gate"] == "ok" else 3
        )  # two progress, one lineage, two times, four trade-offs
        row = page.by_id(f"c{order}").text
        assert entry["candidate"]["change"] in row
        assert entry["outcome"]["message"] in row


def test_without_a_result_the_page_says_so(tmp_path: Path) -> None:
    page = Page.read(make(tmp_path, archive_=sample.archive(fail=1.0)))
    assert page.all("h1")[0].text == "No candidate was trained to the end"
    assert "There is no winner" in page.by_id("winner").text


def test_without_a_final_the_best_of_the_search_is_shown_as_such(tmp_path: Path) -> None:
    page = Page.read(make(tmp_path, **CASES["no final"]()))
    text = page.by_id("result").text
    assert "not retrained" in text
    assert "Test accuracy" not in text


def test_a_final_of_another_search_is_refused(tmp_path: Path) -> None:
    final = sample.final(sample.archive(seed=1))
    with pytest.raises(DataError, match=r"expected networks of this search, found r\d\d-.* run the final stage again"):
        make(tmp_path, archive_=sample.archive(seed=0), final_=final)


def test_what_paid_stands_on_the_page(tmp_path: Path) -> None:
    html = make(tmp_path)
    assert "What paid" in html
    assert "f00 &lt;b&gt;" in html and "f19 &lt;b&gt;" in html and "f10 &lt;b&gt;" not in html


def test_what_paid_is_written_as_code(tmp_path: Path) -> None:
    archive = sample.archive()
    nested = '{"*":[{"$tree":{"args":{"p":0.2},"module":"torch.nn.Dropout"}}]}'
    names = ['torch.nn.Conv2d{"bias":false,"kernel_size":3}', "torch.nn.Sequential" + nested, "activation>pooling"]
    archive["explained"] = {"module": [{**sample.EFFECTS[0], "name": name} for name in names]}
    html = unescape(make(tmp_path, archive_=archive))
    for name, written in zip(
        names, ("Conv2d(bias=False, kernel_size=3)", "Sequential(", "activation>pooling"), strict=True
    ):
        assert f'title="{name}">{written}' in html, written
    assert "Dropout(p=0.2)" in html


def test_what_may_as_well_be_nothing_has_no_colour(tmp_path: Path) -> None:
    archive = sample.archive()
    effect = {"number": 3, "mean": 0.5, "high": 1.0}
    archive["explained"] = {
        "family": [{**effect, "name": "sure", "low": 0.1}, {**effect, "name": "unsure", "low": -0.1}]
    }
    table = re.findall(
        r'title="(\w+)">\1</th><td class="n">3</td><td class="n">\s*(.*?)\s*</td>', make(tmp_path, archive_=archive)
    )
    assert table == [("sure", '<span class="up">+0.50</span>'), ("unsure", "+0.50")]


def test_a_winner_without_mined_modules_is_told_so(tmp_path: Path) -> None:
    said = "No mined module is in it"
    assert said not in make(tmp_path / "usual")
    archive = single()
    candidate = Candidate.from_json(archive["entries"][0]["candidate"])
    plain = Tree(
        "torch.nn.Sequential", {}, (("flat", Tree("torch.nn.Flatten")), ("block", Tree("llmastool.blocks.Same")))
    )
    archive["entries"][0]["candidate"] = replace(candidate, tree=plain).to_json()
    assert said in make(tmp_path / "plain", archive_=archive, final_=sample.final(archive))


def test_strangers_text_stays_text(tmp_path: Path) -> None:
    archive = sample.archive(change=NASTY, message=NASTY)
    archive["data"]["name"] = archive["data"]["digest"] = NASTY
    archive["planner_reports"][0][NASTY] = NASTY
    final = sample.final(archive)
    final["files"] = {NASTY: NASTY}
    for origin in final["origins"].values():
        origin.update(source=NASTY, path=NASTY, licence=NASTY)
    registry = sample.registry(name=NASTY, licence=NASTY)
    registry["families"][NASTY] = 3
    registry["reasons"][0].update(stage=NASTY, message=NASTY)
    page = Page.read(make(tmp_path, archive_=archive, final_=final, registry_=registry))
    assert page.problems == []
    assert len(page.all("script")) == 1
    assert page.all("img") == []
    assert not [name for e in page.elements for name in e.attributes if name.startswith("on")]
    assert NASTY.strip() in page.by_id("c0").text
    assert "{{ 7 * 7 }}" in page.by_id("c0").text


def test_only_our_script_may_run(tmp_path: Path) -> None:
    page = Page.read(make(tmp_path))
    policy = next(e for e in page.all("meta") if e.attributes.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(page.all("script")[0].text.encode()).digest()).decode()
    assert "default-src 'none'" in policy.attributes["content"]
    assert f"script-src 'sha256-{digest}'" in policy.attributes["content"]


def test_text_of_other_scripts_is_kept_and_tricks_are_not(tmp_path: Path) -> None:
    archive = sample.archive(change=SCRIPTS.replace("\ud800", ""), message=SCRIPTS.replace("\ud800", ""))
    folder = sample.write(tmp_path, archive_=archive)
    path = folder / "archive" / "archive.json"
    path.write_text(json.dumps(sample.archive(change=SCRIPTS)))  # escapes the half of a pair, as a stranger's file may
    write_report(folder / "archive", folder / "final", folder / "registry", folder)
    html = (folder / "report.html").read_text()
    assert "日本語 עברית العربية हिन्दी 🧬" in html
    assert not UNSAFE.search(html.replace("\n", " "))


def test_large_page_is_light_and_quick(tmp_path: Path) -> None:
    folder = sample.write(tmp_path, archive_=sample.archive(rounds=20, per_round=25))
    begin = time.process_time()
    write_report(folder / "archive", folder / "final", folder / "registry", folder)
    assert time.process_time() - begin < 5.0
    assert (folder / "report.html").stat().st_size < 3_000_000


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    assert make(tmp_path / "a") == make(tmp_path / "b")


def test_missing_input_names_the_stage(tmp_path: Path) -> None:
    folder = sample.write(tmp_path)
    (folder / "final" / "final.json").unlink()
    with pytest.raises(DataError, match=r"final\.json: expected what the stage 'final' writes.*dvc repro final"):
        write_report(folder / "archive", folder / "final", folder / "registry", folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected JSON, got a broken file"),
        ("[]", "expected a JSON object, got list"),
        ('{"version": 1}', "expected version 2, got 1"),
        ('{"version": 2, "seed": 0, "data": {}}', "rounds, entries missing"),
    ],
)
def test_broken_archive_is_refused(content: str, message: str, tmp_path: Path) -> None:
    folder = sample.write(tmp_path)
    (folder / "archive" / "archive.json").write_text(content)
    with pytest.raises(DataError, match=message):
        write_report(folder / "archive", folder / "final", folder / "registry", folder)


def test_failed_seeds_leave_no_false_mean(tmp_path: Path) -> None:
    archive = sample.archive()
    final = sample.final(archive)
    failed = {"test_accuracy": None, "gate": "timeout", "message": "took longer than 300 s"}
    final["finalists"][0]["test_accuracy"] = {"mean": None, "sd": None, "seeds": [{"seed": 0, **failed}]}
    page = Page.read(make(tmp_path, archive_=archive, final_=final))
    assert "fell at timeout" in page.by_id("result").text
    assert "Test accuracy" not in " ".join(tile.text for tile in page.all("div", "tile"))


def candidate_rows(page: Page) -> list[Element]:
    return [e for e in page.all("tr") if re.fullmatch(r"c\d+", e.attributes.get("id", ""))]


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_browser_shows_the_page_and_runs_our_script(tmp_path: Path) -> None:
    archive = sample.archive()
    make(tmp_path, archive_=archive, final_=sample.final(archive))
    page = Page.read(browse((tmp_path / "out" / "report.html").as_uri(), tmp_path / "profile", "--dump-dom"))
    assert page.by_id("tip").tag == "div"  # only the script makes it, so the policy let it run
    assert len(candidate_rows(page)) == len(archive["entries"])
    assert set(SECTIONS) <= {e.attributes.get("id") for e in page.all("section")}


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_browser_sorts_by_accuracy_and_filters(tmp_path: Path) -> None:
    html = make(tmp_path)
    press = """<script>
    [...document.querySelectorAll("thead button")].find((b) => b.textContent === "accuracy").click();
    const field = document.getElementById("filter");
    field.value = "INSERT";
    field.dispatchEvent(new Event("input"));
    </script>"""
    html = re.sub(r"<meta http-equiv[^>]*>", "", html).replace("</body>", f"{press}</body>")
    (tmp_path / "pressed.html").write_text(html)
    page = Page.read(browse((tmp_path / "pressed.html").as_uri(), tmp_path / "profile", "--dump-dom"))
    rows = candidate_rows(page)
    shown = [row for row in rows if "hidden" not in row.attributes]
    assert 0 < len(shown) < len(rows)
    assert all("insert" in row.text for row in shown)
    cells = [[line.strip() for line in row.text.strip().splitlines()] for row in rows]
    accuracies = [float(line[3]) for line in cells if line[3] != "–"]
    assert accuracies == sorted(accuracies, reverse=True)
    assert all(line[3] == "–" for line in cells[len(accuracies) :])


def test_registry_summary_needs_no_version(tmp_path: Path) -> None:
    folder = sample.write(tmp_path)
    write_json(folder / "registry" / "summary.json", sample.registry(name="elsewhere"))
    write_report(folder / "archive", folder / "final", folder / "registry", folder)
    assert "elsewhere" in (folder / "report.html").read_text()
