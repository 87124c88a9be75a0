"""The archive of a search as files: everything that was evaluated, win or lose, for later stages and readers."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from llmastool.candidate import Candidate
from llmastool.canonical import Json, digest, read_json, write_atomic, write_json
from llmastool.diversity import diversity
from llmastool.errors import DataError
from llmastool.outcome import GATES, Outcome
from llmastool.trees.profile import Profile

VERSION = 2


@dataclass(frozen=True)
class Entry:
    """One evaluated candidate."""

    candidate: Candidate
    profile: Profile | None
    """None when it fell before it could be observed."""
    outcome: Outcome

    @property
    def accuracy(self) -> float | None:
        """Validation accuracy in percent; None when it was not trained to the end."""
        return self.outcome.metrics.get("validation_accuracy") if self.outcome.ok else None


def fingerprint(entries: Sequence[Entry]) -> str:
    """Return a hash over all that equal searches have in common: everything but times."""
    return digest([[timeless(e.candidate.to_json()), timeless(e.outcome.to_json())] for e in entries])


def timeless(value: Json) -> Json:
    """Return a JSON value without times, which differ between equal searches."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if not k.endswith(("seconds", "per_second"))}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def write_archive(
    out: Path,
    entries: Sequence[Entry],
    seed: int,
    meta: Json,
    reports: Sequence[Json],
    explained: Json = None,
    estimates: Mapping[str, float] = MappingProxyType({}),
    bias: Json = None,
) -> None:
    """Write `archive.json`, `metrics.json` and `candidates.csv`.

    Args:
        out: folder to write to.
        entries: all evaluated candidates, in order.
        seed: the search's seed.
        meta: the image set's description.
        reports: the planner's reports, with the counts of each round's pool.
        explained: what paid in the search, by sort (`llmastool.planner.explain.Effect`).
        estimates: what networks are believed to reach on average over trainings, in percent, by id.
        bias: what an LLM preferred (`llmastool.filler.bias.Bias`), by what is looked at.
    """
    archive = {
        "version": VERSION,
        "seed": seed,
        "data": meta,
        "rounds": max((e.candidate.round for e in entries), default=0),
        "fingerprint": fingerprint(entries),
        "planner_reports": list(reports),
        "explained": explained or {},
        "bias": bias or {},
        "best": _best(entries),
        "diversity": [d.to_json() for d in diversity((e.candidate.round, e.profile) for e in entries)],
        "entries": [{**_entry(e), "estimate": estimates.get(e.candidate.id)} for e in entries],
    }
    write_json(out / "archive.json", archive)
    write_json(out / "metrics.json", _metrics(entries))
    write_atomic(out / "candidates.csv", _table(entries))


def read_archive(path: Path) -> Json:
    """Read an archive.

    Raises:
        DataError: there is none, or it is of another version.
    """
    try:
        archive = read_json(path)
    except FileNotFoundError:
        raise DataError(f"{path}: expected an archive, found none; run `dvc repro search`") from None
    if archive.get("version") != VERSION:
        raise DataError(f"{path}: expected version {VERSION}, got {archive.get('version')!r}; run `dvc repro search`")
    return archive


def _entry(entry: Entry) -> Json:
    costs = ("parameters", "flops", "depth")
    profile = {k: getattr(entry.profile, k) for k in costs} if entry.profile is not None else None
    return {"candidate": entry.candidate.to_json(), "profile": profile, "outcome": entry.outcome.to_json()}


def _best(entries: Sequence[Entry]) -> Json:
    """Return the most accurate candidate, the earliest of equals, with its profile; None where none was trained."""
    every = [(e.accuracy, e.candidate, e.profile) for e in entries]
    trained = [(a, candidate, profile) for a, candidate, profile in every if a is not None and profile is not None]
    if not trained:
        return None
    _, candidate, profile = max(trained, key=lambda one: one[0])
    return {"candidate": candidate.id, "profile": profile.to_json()}


def _metrics(entries: Sequence[Entry]) -> Json:
    gates = Counter(e.outcome.gate for e in entries)
    start = [e.accuracy for e in entries if e.accuracy is not None and e.candidate.round == 0]
    every = [e.accuracy for e in entries if e.accuracy is not None]
    return {
        "candidates": len(entries),
        "gates": {gate: gates[gate] for gate in GATES if gates[gate]},
        "start_accuracy": max(start, default=None),
        "best_accuracy": max(every, default=None),
    }


def _table(entries: Sequence[Entry]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["candidate", "name", "round", "gate", "accuracy", "best_so_far", "parameters", "flops"])
    best: float | None = None
    for number, entry in enumerate(entries):
        accuracy, profile = entry.accuracy, entry.profile
        if accuracy is not None:
            best = accuracy if best is None else max(best, accuracy)
        costs = ("", "") if profile is None else (profile.parameters, profile.flops)
        shown = ["" if v is None else v for v in (accuracy, best)]
        writer.writerow([number, entry.candidate.name, entry.candidate.round, entry.outcome.gate, *shown, *costs])
    return text.getvalue()
