"""Every command of the README and of docs/ is run, here in a small copy of the repository, or by the test named beside it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.docs.test_pages import PAGES, ROOT
from tests.filler.server import serve, well

PROGRAMS = ("make", "dvc", "llmastool", "python", "prefect", "mlflow", "export", "git", "tar", "curl")

ELSEWHERE = {
    "make setup": "continuous integration, which makes .venv so",
    "make demo-llm": "tests/filler/test_local.py",
    "llmastool mine --source installed": "tests/cli/test_mine.py",
    "make demo": "tests/pipelines/test_demo.py",
    "make test": "continuous integration",
    "make server": "tests/flows/test_deployment.py",
    "make worker": "tests/flows/test_deployment.py",
    "make mlflow": "tests/tasks/test_page.py",
    "prefect deployment run": "tests/flows/test_deployment.py",
    "prefect deployment schedule resume": "tests/flows/test_deployment.py",
    "export PREFECT_API_URL": "tests/flows/test_deployment.py",
    "export MLFLOW_TRACKING_URI": "tests/tasks/test_serving.py",
    "mlflow models serve": "tests/tasks/test_serving.py",
    "export LLMASTOOL_ALLOW_WEAK_SANDBOX": "tests/registry/test_sandbox.py",
    "dvc import-url http": "nothing: it needs the network",
    "dvc exp run -S mining.set=large": "tests/mining/test_sources_pypi.py, as it needs the package index",
    "llmastool mine --source pypi": "tests/mining/test_sources_pypi.py",
    "dvc exp run -S runner.kind": "tests/pipelines/test_cluster.py",
    "dvc repro pipelines/smoke": "tests/pipelines/test_paper.py",
    "dvc exp run -S filler.kind=replay": "tests/filler/test_ledger.py, as its ledger is another run's",
}
"""Commands that are not run here, by how they begin, and where instead."""

INSTEAD = {
    "../cifar10": "photos",
    "data.name=cifar10": "data.name=photos",
    "data.path=data/cifar10": "data.path=photos",
    " -S data.splits=data/cifar10/splits.txt": "",
    "/absolute/path/or/URL": "$PWD/photos",
    "data.limit=10000": "data.limit=100",
    "data.limit=null": "data.limit=100",
    "training.recipe=nb201-12": "training.recipe=short",
    "[{kind: installed, name: torchvision}, {kind: path, path: my-models}]": "[{kind: path, path: my-models}]",
    "halving.rungs=[2,6]": "halving.rungs=[1]",
    "--family attention": "",
    "--source torchvision": "--source my-models",
    "torchvision.models.resnet.BasicBlock": "torch.nn.Conv2d",
    "search.rounds=5": "search.rounds=1",
    "http://127.0.0.1:8080/v1": "ENDPOINT",
}
"""What stands in the pages for something of the reader's, and what it is here."""

PARAMS = {
    "seed": 0,
    "data": {"name": "digits", "path": "data/digits", "limit": 300, "size": None, "splits": None},
    "mining": {"sources": [{"kind": "path", "path": "my-models"}], "set": None},
    "registry": {"workers": 2},
    "start": {"skeletons": [{"channels": 4, "cells": 1, "stages": 2}]},
    "budget": {"parameters": 100000, "flops": 50000000},
    "search": {"rounds": 1, "per_round": 2, "pool": 8, "doubles": 2, "fresh": 2, "ahead": False,
               "halving": {"rungs": []}, "proxies": {"names": []}},
    "planner": {"elites": 2},
    "filler": {"kind": "rules", "model": "m", "base_url": None, "replay": None},
    "recipes": {"quick": {"epochs": 1}, "short": {"epochs": 2, "lr": 0.1}},
    "training": {"workers": 2, "seconds": 120.0, "recipe": "quick"},
    "final": {"top": 1, "seeds": [0], "recipe": None, "epochs": None},
}  # fmt: skip

SOURCE = """
from torch import nn


class Twice(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.conv(self.conv(x))
"""


def commands(page: Path) -> list[str]:
    """Return the commands of a page: indented lines that begin with a program, without what is said beside them."""
    lines = re.findall(r"^ {4,}(\S.*)$", page.read_text(), re.MULTILINE)
    found = [re.sub(r"\s{2,}#.*", "", line) for line in lines]
    return [line for line in found if line.split()[0].removeprefix(".venv/bin/") in PROGRAMS]


def elsewhere(command: str) -> str | None:
    return next((where for start, where in ELSEWHERE.items() if command.startswith(start)), None)


def test_there_are_commands_in_most_pages() -> None:
    assert sum(bool(commands(page)) for page in PAGES) > 8


def test_what_is_said_to_be_tested_elsewhere_is() -> None:
    every = [command for page in PAGES for command in commands(page)]
    for start, where in ELSEWHERE.items():
        assert any(command.startswith(start) for command in every), f"no page has {start!r} any more"
        if where.startswith("tests/"):
            assert (ROOT / where.partition(",")[0]).exists(), where


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with small parameters, images in folders, code to mine, and a commit."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("assets", "flows", "llmastool", "pipelines", "tasks", ".dvc"):
        leave = shutil.ignore_patterns("__pycache__", "tmp", "cache")
        shutil.copytree(ROOT / name, folder / name, ignore=leave)
    for name in (".dvcignore", ".gitignore", "Makefile", "data.dvc", "dvc.yaml", "pyproject.toml", "requirements.lock",
                 "sources.yaml"):  # fmt: skip
        shutil.copy(ROOT / name, folder / name)
    (folder / "params.yaml").write_text(yaml.safe_dump(PARAMS, sort_keys=False))
    (folder / "my-models").mkdir()
    (folder / "my-models" / "nets.py").write_text(SOURCE)
    draw = np.random.default_rng(0)
    for name, shade in (("cat", 60), ("dog", 180)):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(60):
            pixels = np.clip(draw.normal(shade, 30, (20, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number}.png")
    (folder / ".venv").symlink_to(Path(sys.prefix))
    for argv in (["init", "-q"], ["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        subprocess.run(["git", *argv], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def environment(copy: Path) -> Iterator[dict[str, str]]:
    """What a shell of the reader's has, and an endpoint that answers."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "DVC_", "OPENAI_", "MLFLOW_"))}
    path = os.pathsep.join([str(copy / ".venv" / "bin"), inherited["PATH"]])
    with serve(well) as backend:
        yield {**inherited, "PATH": path, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "ENDPOINT": backend.url}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_run(page: Path, copy: Path, environment: dict[str, str]) -> None:
    subprocess.run(["git", "checkout", "-q", "--", "params.yaml"], cwd=copy, check=True)
    _searched(copy, environment)
    for command in commands(page):
        if elsewhere(command) is not None:
            continue
        here = command
        for theirs, ours in INSTEAD.items():
            here = here.replace(theirs, ours)
        here = here.replace("ENDPOINT", environment["ENDPOINT"])
        if here.startswith("export "):
            name, _, value = here.removeprefix("export ").partition("=")
            environment[name] = os.path.expandvars(
                value.replace("$PWD", str(copy)).replace("$PATH", environment["PATH"])
            )
            continue
        done = subprocess.run(
            here,
            shell=True,
            executable="/bin/bash",
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{page.name}: {command}\n{here}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"


def _searched(copy: Path, environment: dict[str, str]) -> None:
    """Have the artifacts of a whole run, as a reader has who began with the demo."""
    if not (copy / "artifacts" / "report" / "report.html").exists():
        subprocess.run(["dvc", "repro"], cwd=copy, env=environment, check=True, capture_output=True)
