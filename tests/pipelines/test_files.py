"""The files that DVC, Prefect and make read say what the code does."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.stage import STAGES

ROOT = Path(__file__).resolve().parent.parent.parent


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what DVC reads, in a Git repository of its own."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("dvc.yaml", "data.dvc", "params.yaml", ".dvcignore", ".gitignore", "requirements.lock"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("config", ".gitignore"):
        (folder / ".dvc").mkdir(exist_ok=True)
        shutil.copy(ROOT / ".dvc" / name, folder / ".dvc" / name)
    for name in ("assets", "llmastool"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    return folder


def dvc(*argv: str, cwd: Path) -> str:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", *argv]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_dvc_reads_the_stages(clone: Path) -> None:
    assert dvc("stage", "list", "--name-only", cwd=clone).split() == list(STAGES)


def test_the_default_data_needs_nothing_but_the_repository(clone: Path) -> None:
    dvc("repro", "data.dvc", cwd=clone)
    assert (clone / "data/digits/digits.npz").read_bytes() == (ROOT / "assets/digits/digits.npz").read_bytes()
    assert "Data and pipelines are up to date" in dvc("repro", "data.dvc", cwd=clone)
    # Nothing is left for Git to see: the data are ignored, and the file that describes them is as it was.
    assert (clone / "data.dvc").read_text() == (ROOT / "data.dvc").read_text()


def test_other_data_are_chosen_by_overrides_alone(clone: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "assets" / "digits", tmp_path / "other")
    text = (clone / "params.yaml").read_text()
    try:
        (clone / "params.yaml").write_text(text.replace("path: data/digits", f"path: {tmp_path}/other"))
        dry = dvc("repro", "--dry", "--single-item", "prepare", cwd=clone)
        assert "python -m pipelines.stage prepare" in dry
    finally:
        (clone / "params.yaml").write_text(text)


def test_every_dependency_and_parameter_exists() -> None:
    params = load("params.yaml")
    produced: set[str] = set()
    for name, stage in load("dvc.yaml")["stages"].items():
        assert stage["cmd"] == f"python -m pipelines.stage {name}"
        for dependency in stage["deps"]:
            path = dependency.replace("${data.path}", "assets/digits")
            made = any(Path(path).is_relative_to(out) for out in produced)
            assert made or (ROOT / path).exists(), f"{name}: {path}"
        assert set(stage.get("params", [])) <= set(params), name
        assert stage["outs"] == [f"artifacts/{name}"]
        produced.update(stage["outs"])


def test_every_section_of_the_parameters_makes_some_stage_run() -> None:
    used = {p for stage in load("dvc.yaml")["stages"].values() for p in stage.get("params", [])}
    # Where something is computed does not change what comes of it.
    assert used == set(load("params.yaml")) - {"runner"}


def test_deployments_name_flows_and_run_only_when_somebody_says_so() -> None:
    deployments = load("prefect.yaml")["deployments"]
    assert [d["name"] for d in deployments] == ["mine", "search", "final"]
    for deployment in deployments:
        path, _, function = deployment["entrypoint"].partition(":")
        tree = ast.parse((ROOT / path).read_text())
        found = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function)
        assert "flow(" in ast.unparse(found.decorator_list[0])
        assert set(deployment["parameters"]) <= {a.arg for a in found.args.args}
        assert all(schedule["active"] is False for schedule in deployment["schedules"])
        assert deployment["work_pool"]["name"] == "gpu-pool"


def test_make_help_lists_every_target() -> None:
    # A make that starts this test (`make test`) hands its level down, and an inner make then tells of every folder it enters.
    quiet = {k: v for k, v in os.environ.items() if k not in {"MAKELEVEL", "MAKEFLAGS", "MFLAGS"}}
    listed = subprocess.run(
        ["make", "help"], cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    targets = re.findall(r"^\.PHONY: (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test", "test-all", "clean"} <= set(targets)
    assert [line.split()[0] for line in listed.splitlines()] == targets


def test_the_lock_pins_everything_and_names_no_place() -> None:
    lines = [x for x in (ROOT / "requirements.lock").read_text().splitlines() if x and not x.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines)
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines}
    project = (ROOT / "pyproject.toml").read_text()
    wanted = {n.lower() for n in re.findall(r'^  "([A-Za-z0-9-]+)[><=;]', project, re.MULTILINE)}
    assert "llmastool" not in pinned
    assert wanted <= pinned
