"""The README and docs/ name only what there is."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from llmastool.filler.config import FillerConfig
from llmastool.final_config import FinalConfig
from llmastool.mining.sources import MiningConfig, SourceSpec
from llmastool.planner.config import PlannerConfig
from llmastool.runner import RunnerConfig
from llmastool.search_config import SearchConfig
from llmastool.training.data import DataConfig
from llmastool.training.recipe import TrainingConfig
from llmastool.trees.budget import Budget

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SECTIONS = {
    "budget": Budget,
    "data": DataConfig,
    "filler": FillerConfig,
    "final": FinalConfig,
    "mining": MiningConfig,
    "planner": PlannerConfig,
    "runner": RunnerConfig,
    "search": SearchConfig,
    "training": TrainingConfig,
}
FOLDERS = ("", "llmastool/")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def quoted(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", page.read_text())


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pages
def test_files_that_are_named_exist(page: Path) -> None:
    named = [
        q
        for q in quoted(page)
        if re.fullmatch(
            r"(llmastool|tests|benchmarks|docs|assets|mining|registry|trees|planner|filler|report)/[\w/.]*", q
        )
    ]
    for name in [*named, *(q for q in quoted(page) if re.fullmatch(r"\w+(\.yaml|\.dvc)", q) and q != "params.yaml")]:
        assert any((ROOT / folder / name).exists() for folder in FOLDERS), name


@pages
def test_parameters_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    keys = [q for q in quoted(page) if re.fullmatch(r"[a-z]+\.[a-z_]+", q)]
    keys += re.findall(r"-S ([a-z]+\.[a-z_]+)=", text)
    for section, name in (key.split(".") for key in keys):
        if section in SECTIONS and name not in ("yaml", "dvc", "py", "json", "md"):
            assert name in {f.name for f in dataclasses.fields(SECTIONS[section])}, f"{section}.{name}"


@pages
def test_make_targets_that_are_named_exist(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"^ +make ([a-z-]+)$", page.read_text(), re.MULTILINE)
    named += [q.removeprefix("make ") for q in quoted(page) if re.fullmatch(r"make [a-z-]+", q)]
    assert set(named) <= set(targets)


def test_the_quickstart_is_two_commands() -> None:
    quickstart = PAGES[0].read_text().split("## Quickstart")[1].split("\n## ")[0]
    assert re.findall(r"^    (.+)$", quickstart, re.MULTILINE) == ["make demo", "make test"]


def test_the_example_of_sources_can_be_read() -> None:
    import yaml

    from llmastool.config import from_mapping

    text = (ROOT / "docs" / "sources.md").read_text()
    block = re.search(r"(?m)(?:^    .*\n)+", text)
    assert block is not None
    mining = from_mapping(MiningConfig, yaml.safe_load(block[0])["mining"])
    assert [type(source) for source in mining.sources] == [SourceSpec, SourceSpec]
