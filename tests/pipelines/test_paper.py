"""The pipeline of the paper's table, and the same at toy size, which runs here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmastool.canonical import read_json, write_json
from llmastool.errors import DataError
from llmastool.params import Params
from pipelines import table
from pipelines.stage import STAGES

ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = ("paper", "smoke")


def stages(name: str) -> dict[str, Any]:
    text = (ROOT / "pipelines" / name / "dvc.yaml").read_text()
    return dict(yaml.safe_load(text)["stages"])


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_read(name: str) -> None:
    params = Params.load(ROOT / "pipelines" / name / "params.yaml")
    assert params.final.top == 1


def test_the_paper_trains_by_the_benchmarks_recipe() -> None:
    params = Params.load(ROOT / "pipelines" / "paper" / "params.yaml")
    assert params.final.recipe == Params.load(ROOT / "params.yaml").recipes["nb201"]
    matrix = stages("paper")["final"]["matrix"]
    assert matrix == {"data": list(table.SETS), "seed": [0, 1, 2]}
    assert params.final.seeds == (0, 1, 2)


def test_the_toy_differs_in_names_and_sizes_alone() -> None:
    found = []
    for name in NAMES:
        known = stages(name)
        for stage in known.values():
            stage.pop("matrix", None)
        known["table"]["deps"] = known["table"]["deps"][-1:]
        text = yaml.safe_dump(known, width=10_000).replace(name, "NAME")
        found.append(text.replace(" -S data.splits=data/${item.data}/splits.txt", ""))
    assert found[0] == found[1]


@pytest.mark.parametrize("name", NAMES)
def test_every_dependency_is_there_or_made(name: str) -> None:
    made: list[str] = []
    for stage, value in stages(name).items():
        for one in value["deps"]:
            known = one.startswith("data/") or (ROOT / one).exists()
            assert known or any(Path(one).is_relative_to(out) or "final.json" in one for out in made), f"{stage}: {one}"
        made += value["outs"]


def test_they_depend_on_what_the_main_pipeline_depends_on() -> None:
    main = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for stage, value in stages("paper").items():
        if stage in STAGES:
            code = {one for one in value["deps"] if one.startswith(("llmastool", "sources", "requirements"))}
            assert code == {
                one for one in main[stage]["deps"] if one.startswith(("llmastool", "sources", "requirements"))
            }


def final(folder: Path, name: str, mean: float | None) -> None:
    one = {"id": "a", "test_accuracy": {"mean": mean, "sd": 0.1, "seeds": []}}
    write_json(folder / name / "final" / "final.json", {"best": "a", "finalists": [one]})


def test_the_table_is_over_searches_beside_what_was_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, mean in enumerate((94.0, 95.0, 96.0)):
        final(tmp_path, f"cifar10-{seed}", mean)
    final(tmp_path, "imagenet16-120-0", 50.0)
    assert table.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "|  | cifar10 | imagenet16-120 |"
    assert "| LLMasTool (Yoshimura et al. 2026) | 95.31 | 53.20 |" in lines
    assert lines[-1] == "| **this search** | **95.00 ± 1.00 (n=3)** | **50.00 (n=1)** |"
    assert (tmp_path / "table.md").read_text().splitlines() == lines
    assert read_json(tmp_path / "table.json")["cifar10"]["each"] == [94.0, 95.0, 96.0]


def test_a_search_without_a_winner_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match=r"expected <set>-<seed>/final/final\.json in it, found none"):
        table.collect(tmp_path)
    final(tmp_path, "cifar10-0", None)
    assert table.main([str(tmp_path)]) == 2
    assert re.fullmatch(r"table: .*final\.json: expected a winner .*\n", capsys.readouterr().err)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_toy_runs_to_its_table_and_not_a_second_time(tmp_path: Path) -> None:
    for name in ("assets", "flows", "llmastool", "pipelines", "tasks", ".dvc"):
        leave = shutil.ignore_patterns("__pycache__", "tmp", "cache")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=leave)
    for name in (
        ".dvcignore",
        ".gitignore",
        "data.dvc",
        "dvc.yaml",
        "params.yaml",
        "requirements.lock",
        "sources.yaml",
    ):
        shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "DVC_", "OPENAI_"))}
    environment |= {"PYTHONPATH": str(tmp_path), "DVC_NO_ANALYTICS": "1", "OMP_NUM_THREADS": "1"}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])

    def dvc(*argv: str) -> str:
        command = [sys.executable, "-m", "dvc", *argv]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    dvc("repro", "data.dvc", "pipelines/smoke/dvc.yaml")
    found = read_json(tmp_path / "artifacts" / "smoke" / "table.json")
    assert found["digits"]["searches"] == 2
    assert (tmp_path / "artifacts/smoke/digits-1/report/report.html").stat().st_size > 10_000
    assert "Running stage" not in dvc("repro", "pipelines/smoke/dvc.yaml")
