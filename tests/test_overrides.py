"""Parameters changed from a command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmastool.errors import ConfigError
from llmastool.overrides import overridden
from llmastool.params import Params

ROOT = Path(__file__).resolve().parent.parent


def test_changes_are_as_deep_as_their_keys(tmp_path: Path) -> None:
    path = overridden(ROOT / "params.yaml", ["seed=7", "search.halving.rungs=[1, 2]"], tmp_path)
    params = Params.load(path)
    assert (params.seed, params.search.halving.rungs) == (7, (1, 2))
    assert params.search.rounds == Params.load(ROOT / "params.yaml").search.rounds
    assert overridden(ROOT / "params.yaml", ["seed=8"], tmp_path) != path


def test_a_key_may_be_written_with_pluses_as_dvc_has_them(tmp_path: Path) -> None:
    plain, new, any_key = (overridden(ROOT / "params.yaml", [f"{plus}seed=7"], tmp_path) for plus in ("", "+", "++"))
    assert plain == new == any_key


def test_no_change_is_the_file_itself(tmp_path: Path) -> None:
    assert overridden(ROOT / "params.yaml", [], tmp_path) == ROOT / "params.yaml"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", ["seed", "=3", "search.=3", "seed=[1", ".x=1"])
def test_what_is_no_change_is_refused(change: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"-S .*expected"):
        overridden(ROOT / "params.yaml", [change], tmp_path)


@pytest.mark.parametrize("change", ["training.seconds=.inf", "training.seconds=.nan", "seed=2026-11-29", "data.name=1"])
def test_values_that_no_parameter_takes_are_refused_when_they_are_read(change: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=change.partition("=")[0].rpartition(".")[2]):
        Params.load(overridden(ROOT / "params.yaml", [change], tmp_path))


def test_an_unknown_key_is_said_as_in_the_file(tmp_path: Path) -> None:
    path = overridden(ROOT / "params.yaml", ["search.roundz=3"], tmp_path)
    with pytest.raises(ConfigError, match=r"params\.search\.roundz: unknown key; did you mean 'rounds'\?"):
        Params.load(path)
