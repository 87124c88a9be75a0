from __future__ import annotations

from pathlib import Path

import pytest

from llmastool.canonical import Json, write_json
from llmastool.report import costs, text, write_report
from llmastool.report.inputs import Archive, load_archive
from tests.report import sample
from tests.report.page_reader import Page


def load(of: Json, folder: Path) -> Archive:
    write_json(folder / "archive.json", of)
    return load_archive(folder)


def small() -> Json:
    """Three of the start population, and two rounds of two: one asked in vain, one stopped early, one failed."""
    of = sample.archive(rounds=2, per_round=2, fail=0.0)
    for i, entry in enumerate(of["entries"]):
        entry["outcome"]["seconds"] = 10.0 * (i + 1)
    asked = [entry["candidate"]["fill"] for entry in of["entries"][3:]]
    for fill in asked:
        fill |= {"prompt_tokens": 100, "completion_tokens": 5, "cost": 0.25, "seconds": 2.0}
    asked[1] |= {"filler": "rules", "fallback": "no valid answer"}
    of["entries"][6]["candidate"]["fill"] = None
    of["entries"][5]["outcome"] |= {"gate": "stopped", "message": "left after 1 of 5 epochs"}
    of["entries"][6]["outcome"] |= {"gate": "timeout", "metrics": {}}
    return of


def test_all_is_added_up(tmp_path: Path) -> None:
    total = costs.cost(load(small(), tmp_path).rows)
    assert (total.candidates, total.trained, total.seconds) == (7, 5, 280.0)
    assert total.per_trained == 56.0, "what came to nothing is paid for too"
    assert (total.answers, total.fallbacks) == (2, 1)
    assert (total.prompt_tokens, total.completion_tokens, total.tokens) == (300, 15, 315), "in vain, but not for free"
    assert (total.price, total.waited) == (0.75, 6.0)


def test_rounds_add_up_to_all(tmp_path: Path) -> None:
    rows = load(small(), tmp_path).rows
    rounds = costs.by_round(rows)
    assert [(number, c.candidates, c.seconds) for number, c in rounds] == [(0, 3, 60.0), (1, 2, 90.0), (2, 2, 130.0)]
    assert [c.answers for _, c in rounds] == [0, 1, 1]
    assert rounds[2][1].trained == 0 and rounds[2][1].per_trained is None
    for name in ("candidates", "trained", "seconds", "answers", "fallbacks", "tokens", "price", "waited"):
        assert sum(getattr(c, name) for _, c in rounds) == pytest.approx(getattr(costs.cost(rows), name))


def test_time_is_told_by_how_trainings_ended(tmp_path: Path) -> None:
    rows = load(small(), tmp_path).rows
    assert costs.by_end(rows) == [
        costs.TimeSpent("trained to the end", 5, 150.0),
        costs.TimeSpent("stopped early", 1, 60.0),
        costs.TimeSpent("failed", 1, 70.0),
    ]
    assert [spent.end for spent in costs.by_end(rows[:5])] == ["trained to the end"]
    assert costs.by_end([]) == [] and costs.cost([]).per_trained is None


def test_the_posterior_is_no_llm_and_a_local_one_is(tmp_path: Path) -> None:
    of = small()
    of["entries"][3]["candidate"]["fill"] |= {"filler": "posterior"}
    of["entries"][5]["candidate"]["fill"] |= {"filler": "local:smollm2"}
    assert costs.cost(load(of, tmp_path).rows).answers == 1
    assert not costs.cost(load(of, tmp_path).rows[:3]).asked


def test_the_page_says_what_the_search_cost(tmp_path: Path) -> None:
    folder = sample.write(tmp_path, archive_=small())
    write_report(folder / "archive", folder / "final", folder / "registry", folder)
    read = Page.read((folder / "report.html").read_text())
    said = " ".join(read.by_id("cost").text.replace(text.NARROW_SPACE, " ").split())
    assert "Training time4.7 minutes" in said and "56.0 seconds for each network trained to the end" in said
    assert "LLM answers2" in said and "0.7500" in said and "300 in, 15 out" in said
    assert "stopped early 1 60.0 21 % 60.0".replace(" ", "") in said.replace(" ", "")
    assert "Answers to closed questions" not in said, "who answered is told under Fills, once"


def test_a_search_that_asked_no_llm_says_so(tmp_path: Path) -> None:
    of = small()
    for entry in of["entries"]:
        entry["candidate"]["fill"] = None
    folder = sample.write(tmp_path, archive_=of)
    write_report(folder / "archive", folder / "final", folder / "registry", folder)
    section = Page.read((folder / "report.html").read_text()).by_id("cost").text
    assert "No LLM was asked" in section and "Tokens" not in section
