"""Which filler a configuration asks for, and who proposes arguments."""

from __future__ import annotations

import os
from pathlib import Path

from llmastool.errors import ConfigError
from llmastool.filler.config import FillerConfig
from llmastool.filler.ledger import Ledger
from llmastool.filler.posterior import PosteriorFiller
from llmastool.filler.question import Filler
from llmastool.filler.replay import ReplayFiller
from llmastool.filler.rules import RulesFiller
from llmastool.registry.unbuilt import Proposes
from llmastool.registry.undescribed import Describes


def make_filler(config: FillerConfig, ledger_path: Path) -> Filler:
    """Return the filler of a configuration, with its ledger opened.

    Whichever it is, a question that the ledger knows is answered from there, so that a search replays bit for bit.

    Raises:
        ConfigError: an LLM is asked for, but neither a key nor a base URL is set, or what runs it is not installed.
        LedgerError: the ledger, or the one that is to be repeated, cannot be read.
    """
    asked = asks_llm(config)
    ledger = Ledger(ledger_path)
    if config.kind == "posterior":
        return PosteriorFiller(ledger)
    if config.kind == "replay":
        assert config.replay is not None, "the configuration was checked"
        return ReplayFiller(ledger, Path(config.replay))
    if not asked and config.kind != "local":
        return RulesFiller(ledger)
    from llmastool.filler.address import Address
    from llmastool.filler.llm import LLMFiller  # the client takes 0.7 s to import

    if config.kind == "local":
        from llmastool.filler.local import LocalHost, local_config

        return LLMFiller(local_config(config), ledger, LocalHost(), "local")
    return LLMFiller(config, ledger, Address.configured(config), "openai")


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


def make_describer(config: FillerConfig, memory: Path) -> Describes | None:
    """Return who says what modules do, None where that is not asked for or no LLM is set up.

    Args:
        config: parameters of the filler.
        memory: file of what was said so far.

    Raises:
        ConfigError: an LLM is asked for, and none can be reached with what is set.
    """
    if not (config.describe and asks_llm(config)):
        return None
    from llmastool.filler.describe import Describer

    return Describer(config, memory)


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
