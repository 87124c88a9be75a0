"""`params.yaml` is read strictly, and says what is wrong with it and where."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from llmastool.errors import ConfigError
from llmastool.params import Params

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "params.yaml").read_text()
LEAST = "mining: {sources: [{name: torchvision}]}\ntraining: {recipe: {epochs: 1}}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "params.yaml"
    path.write_text(text)
    return path


def test_the_committed_file_is_read_whole() -> None:
    params, mapping = Params.load(ROOT / "params.yaml"), yaml.safe_load(TEXT)
    assert params.data.name == mapping["data"]["name"] == "digits"
    assert params.training.recipe == params.recipes[mapping["training"]["recipe"]]
    assert params.training.recipe.epochs == mapping["recipes"]["quick"]["epochs"]
    assert [s.label for s in params.mining.sources] == ["torchvision"]
    # At least 24 candidates in 3 rounds or more is what the demo stands for.
    assert params.search.rounds >= 3
    assert params.search.rounds * params.search.per_round + len(params.start.skeletons) + len(params.start.mined) >= 24


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    params = Params.load(write(tmp_path, LEAST))
    assert (params.seed, params.data.validation, params.filler.kind) == (0, 0.2, "auto")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LEAST + "serch: {}\n", r"^params\.serch: unknown key; did you mean 'search'\?$"),
        (LEAST + "data: {nmae: digits}\n", r"^params\.data\.nmae: unknown key; did you mean 'name'\?$"),
        (LEAST + "seed: -1\n", r"^params\.seed: expected 0 or more, got -1$"),
        (LEAST + "seed: one\n", r"^params\.seed: expected int, got 'one'$"),
        (LEAST + "data: {validation: 1.5}\n", r"^params\.data\.validation: expected a share between 0 and 1, got 1.5$"),
        (LEAST + "search: {rounds: true}\n", r"^params\.search\.rounds: expected int, got True$"),
        (
            LEAST + "filler: {kind: oracle}\n",
            r"^params\.filler\.kind: expected one of 'auto', 'rules', 'posterior', 'openai', 'local', 'replay', got",
        ),
        ("training: {recipe: {epochs: 1}}\n", r"^params\.mining: missing; add it to params$"),
        (
            "mining: {sources: []}\ntraining: {recipe: {epochs: 1}}\n",
            r"^params\.mining\.sources: expected at least one",
        ),
        ("", r"^params: expected a mapping, got None$"),
        ("seed: [0\n", r"params\.yaml, line 2, column 1: expected YAML: "),
        ("seed: 1\nseed: 2\n", r"params\.yaml, line 2, column 1: expected YAML: the key 'seed' is given twice$"),
        (
            "data:\n  name: a\n  name: b\n",
            r"params\.yaml, line 3, column 3: expected YAML: the key 'name' is given twice",
        ),
        ("seed: \x00\n", r"params\.yaml: expected YAML: "),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        Params.load(write(tmp_path, text))


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"params\.yaml: no such file; run from the folder that holds it"):
        Params.load(tmp_path / "params.yaml")
    path = tmp_path / "params.yaml"
    path.write_bytes(b"seed: \xff\xfe\n")
    with pytest.raises(ConfigError, match="expected text in UTF-8"):
        Params.load(path)


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="could not determine a constructor"):
        Params.load(write(tmp_path, "seed: !!python/object/apply:os.getcwd []\n"))
