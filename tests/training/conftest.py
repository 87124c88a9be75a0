"""Prepared digits, once for all training tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmastool.training.data import DataConfig, prepare

DIGITS = Path(__file__).resolve().parents[2] / "assets" / "digits"


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All digits, prepared with seed 0."""
    out = tmp_path_factory.mktemp("digits") / "prepared"
    prepare(DataConfig(path=str(DIGITS)), out, seed=0)
    return out


@pytest.fixture(scope="session")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 digits, prepared with seed 0."""
    out = tmp_path_factory.mktemp("few") / "prepared"
    prepare(DataConfig(path=str(DIGITS), limit=200), out, seed=0)
    return out
