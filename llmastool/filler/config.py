"""Parameters of the filler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmastool.config import require


@dataclass(frozen=True, kw_only=True)
class FillerConfig:
    """Who settles what a plan leaves open. The key is no parameter: it comes from `OPENAI_API_KEY` alone."""

    kind: Literal["auto", "rules", "posterior", "openai"] = "auto"
    """`rules` draws at random, `posterior` takes what the planner expects most of, both without an LLM; `openai` asks
    one; `auto` asks one where a key or base URL is set, and draws at random otherwise."""
    model: str = "gpt-5-mini"
    """Name of the model, as the endpoint knows it."""
    base_url: str | None = None
    """Root of an OpenAI-compatible endpoint, e.g. `http://127.0.0.1:8080/v1`; None for `OPENAI_BASE_URL`, or OpenAI."""
    timeout_seconds: float = 60.0
    """Most seconds for one question in total, retries and a dripping reply included; above 0, at most 3600."""
    retries: int = 2
    """How often a request is repeated after a lost connection, a 429 or a 5xx, 0 to 10."""
    max_completion_tokens: int = 2000
    """Most tokens of one reply, those of hidden reasoning included, 16 or more."""
    max_calls: int = 1000
    """Most questions that one search puts to the LLM; `rules` answers the rest. 0 or more."""
    concurrency: int = 4
    """How many questions are under way at the same time, 1 to 64."""

    def __post_init__(self) -> None:
        require(bool(self.model.strip()), "model", "a name", self.model)
        web = self.base_url is None or self.base_url.startswith(("http://", "https://"))
        require(web, "base_url", "a URL that starts with http:// or https://", self.base_url)
        require(0 < self.timeout_seconds <= 3600, "timeout_seconds", "above 0, at most 3600", self.timeout_seconds)
        require(0 <= self.retries <= 10, "retries", "0 to 10", self.retries)
        require(self.max_completion_tokens >= 16, "max_completion_tokens", "16 or more", self.max_completion_tokens)
        require(self.max_calls >= 0, "max_calls", "0 or more", self.max_calls)
        require(1 <= self.concurrency <= 64, "concurrency", "1 to 64", self.concurrency)
