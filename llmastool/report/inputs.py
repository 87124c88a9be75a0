"""What the report reads: the archive, the final and the registry's summary, as typed rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from llmastool import archive, final
from llmastool.candidate import Candidate
from llmastool.canonical import Json, read_json
from llmastool.diversity import Diversity
from llmastool.errors import DataError
from llmastool.outcome import Outcome
from llmastool.planner.report import Effect
from llmastool.trees.profile import Profile


@dataclass(frozen=True, kw_only=True)
class Row:
    """One candidate with what became of it."""

    order: int
    """Its place in the whole search, from 0; the page's anchor for it."""
    candidate: Candidate
    outcome: Outcome
    parameters: int | None
    """Number of parameters; None when it fell before it could be profiled."""
    flops: int | None
    """Multiply-adds for one image."""
    depth: int | None
    """Layers with parameters that one forward pass calls."""

    @property
    def accuracy(self) -> float | None:
        """Validation accuracy in percent; None when it fell at a gate."""
        return self.outcome.metrics.get("validation_accuracy") if self.outcome.ok else None

    @property
    def name(self) -> str:
        """Name of the candidate."""
        return self.candidate.name

    @property
    def is_start(self) -> bool:
        """Whether it belongs to the start population."""
        return self.candidate.plan is None

    @property
    def edits(self) -> int:
        """Edits between it and its parent; 0 where it has none."""
        if self.candidate.parent is None:
            return 0
        return 2 if (self.candidate.plan or {}).get("after") else 1


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A whole search."""

    seed: int
    data: Mapping[str, Any]
    """Name, classes, shape, counts and digest of the data set."""
    rounds: int
    rows: tuple[Row, ...]
    """Every candidate, in the order of the search."""
    planner_reports: tuple[Mapping[str, Any], ...]
    profiles: Mapping[str, Profile]
    """Whole profiles by id of the tree, of those candidates that have one here: the best one."""
    explained: Mapping[str, tuple[Effect, ...]] = field(default_factory=dict)
    """What paid, the best first, by sort."""
    bias: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What an LLM preferred, by what is looked at."""
    diversity: tuple[Diversity, ...] = ()
    """How varied each round was, in order; empty where the archive does not say."""

    @cached_property
    def by_id(self) -> dict[str, Row]:
        """The rows by id of their tree."""
        return {row.candidate.id: row for row in reversed(self.rows)}

    @cached_property
    def trained(self) -> tuple[Row, ...]:
        """The candidates that were trained to the end."""
        return tuple(row for row in self.rows if row.accuracy is not None)

    @cached_property
    def stopped(self) -> tuple[Row, ...]:
        """The candidates whose training was left, because others did better after as many epochs."""
        return tuple(row for row in self.rows if row.outcome.gate == "stopped")

    def parent(self, row: Row) -> Row | None:
        """Return the row that `row` was made from."""
        return self.by_id.get(row.candidate.parent) if row.candidate.parent else None

    def gain(self, row: Row) -> float | None:
        """Return its validation accuracy minus its parent's, in points; None unless both were trained."""
        parent = self.parent(row)
        if parent is None or row.accuracy is None or parent.accuracy is None:
            return None
        return row.accuracy - parent.accuracy


def best_of(rows: Sequence[Row]) -> Row | None:
    """Return the row of the highest validation accuracy, the earliest of equals; None when none was trained."""
    trained = [row for row in rows if row.accuracy is not None]
    return max(trained, key=lambda row: (row.accuracy, -row.order)) if trained else None


def load_archive(folder: Path) -> Archive:
    """Read `archive.json`.

    Raises:
        DataError: the file is missing, broken or of another version.
    """
    value = _load(folder / "archive.json", "search", ("seed", "data", "rounds", "entries"), archive.VERSION)
    entries = [(Candidate.from_json(e["candidate"]), e) for e in value["entries"]]
    entries.sort(key=lambda pair: (pair[0].round, pair[0].index))
    rows = []
    for order, (candidate, entry) in enumerate(entries):
        profile = entry.get("profile") or {}
        costs = {key: profile.get(key) for key in ("parameters", "flops", "depth")}
        rows.append(Row(order=order, candidate=candidate, outcome=Outcome.from_json(entry["outcome"]), **costs))
    return Archive(
        seed=value["seed"],
        data=value["data"],
        rounds=value["rounds"],
        rows=tuple(rows),
        planner_reports=tuple(value.get("planner_reports", ())),
        bias=value.get("bias", {}),
        diversity=tuple(Diversity(**round_) for round_ in value.get("diversity", ())),
        explained={
            sort: tuple(Effect(**effect) for effect in effects) for sort, effects in value.get("explained", {}).items()
        },
        profiles={b["candidate"]: Profile.from_json(b["profile"]) for b in [value.get("best")] if b},
    )


def load_final(folder: Path) -> Json:
    """Read `final.json`; its `best` is None when there was nothing to train.

    Raises:
        DataError: the file is missing, broken or of another version.
    """
    return _load(folder / "final.json", "final", ("best", "finalists", "origins"), final.VERSION)


def load_registry(folder: Path) -> Json:
    """Read the registry's `summary.json`.

    Raises:
        DataError: the file is missing or broken.
    """
    return _load(folder / "summary.json", "registry", ("sources", "families", "reasons"))


def _load(path: Path, stage: str, keys: Sequence[str], version: int | None = None) -> Json:
    cure = f"run the stage again: dvc repro {stage}"
    try:
        value = read_json(path)
    except FileNotFoundError:
        raise DataError(f"{path}: expected what the stage {stage!r} writes, found no file; {cure}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected JSON, got a broken file ({error}); {cure}") from None
    if not isinstance(value, Mapping):
        raise DataError(f"{path}: expected a JSON object, got {type(value).__name__}; {cure}")
    if version is not None and value.get("version") != version:
        raise DataError(f"{path}: expected version {version}, got {value.get('version')!r}; {cure}")
    missing = [key for key in keys if key not in value]
    if missing:
        raise DataError(f"{path}: expected the keys {', '.join(keys)}, {', '.join(missing)} missing; {cure}")
    return value
