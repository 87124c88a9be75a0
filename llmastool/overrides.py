"""Parameters that are other than a file says, as `dvc exp run -S` takes them: `search.rounds=5`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from llmastool.canonical import digest, write_atomic
from llmastool.errors import ConfigError
from llmastool.strict_yaml import read_yaml


def overridden(path: Path, changes: Sequence[str], cache: Path) -> Path:
    """Write a file of parameters with changes in it, and return its path; the file itself where nothing changes.

    Args:
        path: the file.
        changes: each a dotted key, `=`, and a value as YAML writes it; one or two pluses before it mean nothing.
        cache: folder for such files, kept apart by content.

    Raises:
        ConfigError: the file is missing or no YAML, or a change is none.
    """
    if not changes:
        return path
    values: object = read_yaml(path, "name it with --params")
    for change in changes:
        # `+` is for keys that are not there yet, `++` for any: here each is.
        key, equals, written = change.removeprefix("+").removeprefix("+").partition("=")
        if not equals or not all(key.split(".")):
            raise ConfigError(f"-S {change}: expected key=value, such as search.rounds=5")
        try:
            value = yaml.safe_load(written)
        except yaml.YAMLError:
            raise ConfigError(f"-S {change}: expected a value as YAML writes it, got {written!r}") from None
        values = _with(values, key.split("."), value)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    place = cache / digest(text)[:16] / path.name
    write_atomic(place, text)
    return place


def _with(values: object, keys: Sequence[str], value: object) -> dict[str, Any]:
    """Return a mapping with one of its values changed, however deep it is."""
    found = dict(values) if isinstance(values, Mapping) else {}
    first, *rest = keys
    found[first] = _with(found.get(first), rest, value) if rest else value
    return found
