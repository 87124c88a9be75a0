"""Parameters of the filler."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from llmastool.config import require
from llmastool.filler.question import MAX_CHOICES


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a model costs, in whatever currency the caps are in."""

    prompt: float
    """For a million tokens that are sent, 0 or more."""
    completion: float
    """For a million tokens that come back, those of hidden reasoning included, 0 or more."""

    def __post_init__(self) -> None:
        for name in ("prompt", "completion"):
            value = getattr(self, name)
            require(0 <= value < math.inf, name, "0 or more, for a million tokens", value)

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return what so many tokens cost."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6


FREE = Price(prompt=0.0, completion=0.0)


@dataclass(frozen=True, kw_only=True)
class FillerConfig:
    """Who settles what a plan leaves open. The key is no parameter: it comes from `OPENAI_API_KEY` alone."""

    kind: Literal["auto", "rules", "posterior", "openai", "local", "replay"] = "auto"
    """`rules` draws at random, `posterior` takes what the planner expects most of, both without an LLM; `openai` asks
    one; `auto` asks one where a key or base URL is set, and draws at random otherwise; `local` starts a small one on
    this machine (`make demo-llm`); `replay` repeats the answers of a search that ended."""
    model: str = "gpt-5-mini"
    """Name of the model, as the endpoint knows it."""
    models: Mapping[str, float] = field(default_factory=dict)
    """Several models in place of `model`, each with its weight; which of them gets a question is drawn."""
    base_url: str | None = None
    """Root of an OpenAI-compatible endpoint, e.g. `http://127.0.0.1:8080/v1`; None for `OPENAI_BASE_URL`, or OpenAI."""
    replay: str | None = None
    """The ledger that `replay` repeats: the `fills.jsonl` of a search. The other kinds have no use for it."""
    orders: int = 1
    """In how many orders of its choices each question is asked; what most of them pick is taken. 1 to 12."""
    shuffle: bool = True
    """Whether choices are shown in an order that is drawn, or as they are listed, which tells of nothing but a bias."""
    describe: bool = False
    """Whether an LLM, where one is asked, says in a line what each registered module does."""
    timeout_seconds: float = 60.0
    """Most seconds for one question in total, retries and a dripping reply included; above 0, at most 3600."""
    retries: int = 2
    """How often a request is repeated after a lost connection, a 429 or a 5xx, 0 to 10."""
    max_completion_tokens: int = 2000
    """Most tokens of one reply, those of hidden reasoning included, 16 or more."""
    max_calls: int = 1000
    """Most requests of one search, retries included; `rules` answers the rest. 0 or more."""
    prices: Mapping[str, Price] = field(default_factory=dict)
    """Prices by model. A model that is not named costs nothing, unless there is a cap."""
    max_cost: float | None = None
    """Most that one search may cost, in the currency of the prices; `rules` answers the rest. None for no cap."""
    concurrency: int = 16
    """How many requests are under way at the same time, 1 to 64."""
    per_minute: float | None = None
    """Most requests in a minute, retries included, evenly spread; None for as many as come. Above 0."""

    def __post_init__(self) -> None:
        require(bool(self.model.strip()), "model", "a name", self.model)
        weights = all(name.strip() and 0 < weight < math.inf for name, weight in self.models.items())
        require(weights, "models", "names with weights above 0", dict(self.models))
        web = self.base_url is None or self.base_url.startswith(("http://", "https://"))
        require(web, "base_url", "a URL that starts with http:// or https://", self.base_url)
        replays = self.kind != "replay" or bool(self.replay)
        require(replays, "replay", "the path of a ledger, as kind is 'replay'", self.replay)
        require(1 <= self.orders <= MAX_CHOICES, "orders", f"1 to {MAX_CHOICES}", self.orders)
        require(0 < self.timeout_seconds <= 3600, "timeout_seconds", "above 0, at most 3600", self.timeout_seconds)
        require(0 <= self.retries <= 10, "retries", "0 to 10", self.retries)
        require(self.max_completion_tokens >= 16, "max_completion_tokens", "16 or more", self.max_completion_tokens)
        require(self.max_calls >= 0, "max_calls", "0 or more", self.max_calls)
        require(self.max_cost is None or self.max_cost >= 0, "max_cost", "0 or more, or null", self.max_cost)
        unpriced = [name for name in self.weighted if name not in self.prices] if self.max_cost is not None else []
        require(not unpriced, "prices", f"a price for each model, as max_cost is set; none for {unpriced}", self.prices)
        require(1 <= self.concurrency <= 64, "concurrency", "1 to 64", self.concurrency)
        require(self.per_minute is None or self.per_minute > 0, "per_minute", "above 0, or null", self.per_minute)

    @property
    def weighted(self) -> Mapping[str, float]:
        """The models that are asked, with their weights."""
        return self.models or {self.model: 1.0}

    def price(self, model: str) -> Price:
        """Return the price of a model."""
        return self.prices.get(model, FREE)
