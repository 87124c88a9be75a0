from __future__ import annotations

from collections.abc import Callable

import pytest

from llmastool.filler.question import Choice, Question

KEY = "sk-live-0123456789abcdef"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def ask() -> Callable[..., Question]:
    """Make a question with three choices, told apart by their texts."""

    def make(seed: int = 0, **changes: object) -> Question:
        texts = ("red convolution", "green attention", "blue identity")
        choices = tuple(Choice(key=f"k{i}", text=text, weight=1.0 + i) for i, text in enumerate(texts))
        fields: dict[str, object] = {"context": "slot layer1.0.conv1", "choices": choices, "seed": seed, **changes}
        return Question(**fields)  # type: ignore[arg-type]

    return make
