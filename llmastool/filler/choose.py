"""Which filler a configuration asks for, and who proposes arguments."""

from __future__ import annotations

import os
from pathlib import Path

from llmastool.errors import ConfigError
from llmastool.filler.config import FillerConfig
from llmastool.filler.ledger import Ledger
from llmastool.filler.posterior import PosteriorFiller
from llmastool.filler.question import Filler
from llmastool.filler.rules import RulesFiller
from llmastool.registry.unbuilt import Proposes


def make_filler(config: FillerConfig, ledger_path: Path) -> Filler:
    """Return the filler of a configuration, with its ledger opened.

    Whichever it is, a question that the ledger knows is answered from there, so that a search replays bit for bit.

    Raises:
        ConfigError: an LLM is asked for, but neither a key nor a base URL is set.
        LedgerError: the ledger cannot be read.
    """
    asked = asks_llm(config)
    ledger = Ledger(ledger_path)
    if config.kind == "posterior":
        return PosteriorFiller(ledger)
    if not asked:
        return RulesFiller(ledger)
    from llmastool.filler.llm import OpenAIFiller  # the client takes 0.7 s to import

    return OpenAIFiller(config, ledger)


def make_proposer(config: FillerConfig, memory: Path) -> Proposes | None:
    """Return who proposes arguments for modules that could not be built, None where no LLM is set up.

    Args:
        config: parameters of the filler.
        memory: file of what was proposed so far.

    Raises:
        ConfigError: an LLM is asked for, and none can be reached with what is set.
    """
    if not asks_llm(config):
        return None
    from llmastool.filler.arguments import Proposer

    return Proposer(config, memory)


def asks_llm(config: FillerConfig) -> bool:
    """Return whether a configuration asks an LLM.

    Raises:
        ConfigError: one is asked for, but neither a key nor a base URL is set.
    """
    set_up = bool(config.base_url or os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"))
    if config.kind == "openai" and not set_up:
        raise ConfigError(
            "filler.kind: expected a key or an endpoint for 'openai', got neither; set OPENAI_API_KEY, OPENAI_BASE_URL "
            "or filler.base_url, or set filler.kind to 'rules'"
        )
    return set_up and config.kind in ("auto", "openai")
