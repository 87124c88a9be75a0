from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llmastool.config import from_mapping
from llmastool.errors import ConfigError
from llmastool.filler.choose import make_filler
from llmastool.filler.config import FillerConfig
from llmastool.filler.ledger import LedgerError
from llmastool.filler.llm import LLMFiller
from llmastool.filler.rules import RulesFiller
from tests.filler.conftest import KEY


def test_auto_takes_an_llm_only_where_one_is_set_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    assert isinstance(make_filler(FillerConfig(), path), RulesFiller)
    assert isinstance(make_filler(FillerConfig(base_url="http://127.0.0.1:9/v1"), path), LLMFiller)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert isinstance(make_filler(FillerConfig(), path), LLMFiller)
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert isinstance(make_filler(FillerConfig(), path), LLMFiller)
    assert isinstance(make_filler(FillerConfig(kind="rules"), path), RulesFiller)


def test_an_llm_without_key_or_endpoint_is_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"set OPENAI_API_KEY, OPENAI_BASE_URL or filler.base_url"):
        make_filler(FillerConfig(kind="openai"), tmp_path / "ledger.jsonl")


def test_what_no_header_can_carry_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY + "\n")
    with pytest.raises(ConfigError, match="printable ASCII") as caught:
        make_filler(FillerConfig(), tmp_path / "ledger.jsonl")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8080/v1", "http://", "http://[bad", "file:///etc/passwd"])
def test_a_base_url_of_the_environment_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(ConfigError, match="expected a URL such as"):
        make_filler(FillerConfig(), tmp_path / "ledger.jsonl")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kind", "gpt"), ("model", " "), ("base_url", "127.0.0.1"), ("timeout_seconds", 0), ("retries", 11),
        ("max_completion_tokens", 1), ("max_calls", -1), ("concurrency", 0), ("api_key", "sk-1"), ("orders", 13),
        ("models", {"a": 0}), ("replay", 1), ("max_cost", -1), ("per_minute", 0), ("shuffle", 1),
        ("prices", {"a": {"prompt": -1, "completion": 1}}), ("prices", {"a": {"prompt": 1}}),
    ],
)  # fmt: skip
def test_configuration_is_read_strictly(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^filler\.{key}[.:]"):
        from_mapping(FillerConfig, {key: value}, "filler")


def test_a_cap_in_money_wants_prices() -> None:
    price = {"prompt": 0.25, "completion": 2}
    with pytest.raises(
        ConfigError, match=r"^filler\.prices: expected a price for each model, as max_cost is set; .*'b'"
    ):
        from_mapping(FillerConfig, {"max_cost": 1, "models": {"a": 1, "b": 2}, "prices": {"a": price}}, "filler")
    both = {"max_cost": 1, "models": {"a": 1, "b": 2}, "prices": {"a": price, "b": price}}
    assert from_mapping(FillerConfig, both, "filler").price("b").of(1_000_000, 500_000) == 1.25


def test_a_replay_wants_a_ledger(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"replay: expected the path of a ledger, as kind is 'replay'"):
        FillerConfig(kind="replay")
    with pytest.raises(LedgerError, match=r"expected the fills\.jsonl of a search, found no file"):
        make_filler(FillerConfig(kind="replay", replay=str(tmp_path / "no.jsonl")), tmp_path / "ledger.jsonl")


def test_rules_do_not_pay_for_the_client(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from llmastool.filler.choose import make_filler;"
        "from llmastool.filler.config import FillerConfig;"
        "make_filler(FillerConfig(kind='rules'), Path(sys.argv[1]));"
        "assert not {'openai', 'pydantic', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "l.jsonl")], check=True, timeout=60)
