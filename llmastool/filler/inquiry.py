"""One thing that an LLM is asked of each of many modules. Every reply is kept, so that the same is answered alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Generic, TypeVar

from llmastool.canonical import Json, append_line, digest, read_lines
from llmastool.filler.address import Address
from llmastool.filler.config import FillerConfig
from llmastool.filler.endpoint import Asking, Endpoint, Prompted
from llmastool.filler.loops import run
from llmastool.filler.purse import Purse

A = TypeVar("A", bound=Json)


class Inquiry(Generic[A]):
    """Asks the first of the models that are configured, within the limits for one search."""

    def __init__(self, config: FillerConfig, memory: Path) -> None:
        """Take the endpoint from the configuration and the environment.

        Args:
            config: who is asked, and its limits.
            memory: file of the replies so far.

        Raises:
            ConfigError: the base URL or the key cannot be used.
        """
        self.model = next(iter(config.weighted))
        self._memory = memory
        self._endpoint = Endpoint(config, Purse(config), Address.configured(config))
        lines = [line for line in read_lines(memory) if "answer" in line]  # others are of before
        self._known: dict[str, A | None] = {line["key"]: line["answer"] for line in lines}

    def ask(self, prompts: Mapping[str, Prompted[A]]) -> dict[str, A | None]:
        """Return the answers by name; None where there is none. What the endpoint did not answer is asked again later.

        Args:
            prompts: what is asked, by name.
        """
        keys = {name: digest([self.model, list(map(dict, p.messages))])[:16] for name, p in prompts.items()}

        async def settle(asking: Asking, name: str) -> None:
            asked = await asking.ask(prompts[name], self.model)
            if asked.body and not asked.broken:
                line = {"name": name, "answer": asked.answer, "reason": asked.reason, **asdict(asked.spending)}
                append_line(self._memory, {"key": keys[name], **line})
                self._known[keys[name]] = asked.answer

        missing = [name for name in prompts if keys[name] not in self._known]
        if missing:
            run(lambda: self._endpoint.each(missing, settle))
        return {name: self._known.get(key) for name, key in keys.items()}
