"""What a search may still spend on an LLM, in requests and in money. Both caps are hard."""

from __future__ import annotations

import openai

from llmastool.filler.config import FillerConfig
from llmastool.filler.reply import Usage


class SpentError(openai.OpenAIError):
    """A cap is reached, and nothing is sent. Deriving from the client's own error keeps it from retrying."""


class Purse:
    """Counts requests and money. For use from one event loop at a time."""

    def __init__(self, config: FillerConfig, *, requests: int = 0, cost: float = 0.0) -> None:
        """Open a purse.

        Args:
            config: the caps, and the prices.
            requests: how many requests were sent already.
            cost: what was spent already.
        """
        self._config = config
        self._requests, self._spent, self._held = requests, cost, 0.0

    def request(self) -> None:
        """Count a request that is about to be sent.

        Raises:
            SpentError: it would be one too many.
        """
        if self._requests >= self._config.max_calls:
            raise SpentError(f"the limit of {self._config.max_calls} calls is reached")
        self._requests += 1

    def hold(self, model: str, prompt_bytes: int) -> float:
        """Set aside the most that a question can cost, a token being a byte at least, and return it.

        Raises:
            SpentError: that is more than what is left.
        """
        most = self._config.price(model).of(prompt_bytes, self._config.max_completion_tokens)
        cap = self._config.max_cost
        if cap is not None and self._spent + self._held + most > cap:
            raise SpentError(f"the limit of {cap:g} in cost is reached")
        self._held += most
        return most

    def pay(self, held: float, model: str, usage: Usage | None) -> float:
        """Spend what a question did cost in place of what was held for it, and return it.

        Args:
            held: what `hold` returned.
            model: who was asked.
            usage: its tokens; None where they are not known, and the most that it can have cost is taken.
        """
        price = self._config.price(model)
        cost = held if usage is None else price.of(usage.prompt_tokens, usage.completion_tokens)
        self._held -= held
        self._spent += cost
        return cost
