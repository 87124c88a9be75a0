"""Sets of sources that have a name, kept in a file of their own so that one override chooses among them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmastool.config import from_mapping
from llmastool.errors import ConfigError
from llmastool.mining.sources import MiningConfig, SourceSpec, distinct
from llmastool.strict_yaml import read_yaml


def all_sources(config: MiningConfig) -> tuple[SourceSpec, ...]:
    """Return the sources that are named one by one, and after them those of the chosen set.

    Raises:
        ConfigError: the file of sets is missing or malformed or has no such set, or two sources have the same name.
    """
    chosen = read_set(Path(config.sets), config.set) if config.set is not None else ()
    return distinct((*config.sources, *chosen))


def read_set(path: Path, name: str) -> tuple[SourceSpec, ...]:
    """Return one set of a file.

    Raises:
        ConfigError: the file is missing or malformed, or has no such set.
    """
    content = read_yaml(path, "mining.sets names the file that holds the set")
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path}: expected lists of sources by name, got {type(content).__name__}")
    if name not in content:
        close = difflib.get_close_matches(name, [str(key) for key in content], n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"its sets are: {', '.join(sorted(map(str, content)))}"
        raise ConfigError(f"{path}: expected a set {name!r}; {hint}")
    return from_mapping(_Set, {"sources": content[name]}, where=f"{path.stem}.{name}").sources


@dataclass(frozen=True)
class _Set:
    sources: tuple[SourceSpec, ...]
