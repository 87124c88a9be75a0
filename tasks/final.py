"""The tasks of the final stage around its trainings: choose whom to train again, write what came of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from prefect import task
from prefect.cache_policies import NO_CACHE

from llmastool.canonical import Json, write_atomic

if TYPE_CHECKING:
    from llmastool.candidate import Candidate
    from llmastool.final_config import FinalConfig
    from llmastool.outcome import Outcome

    Trainings: TypeAlias = Sequence[tuple[int, Outcome, Path]]
    """Seed, outcome and folder of each training of one network."""

CURVE = ("epoch", "train_loss", "train_accuracy", "lr")


@task(name="finalists", tags=["final"], cache_policy=NO_CACHE)
def choose(archive: Path, config: FinalConfig) -> list[Candidate]:
    """Return the networks to train again, the winner first; see `llmastool.final.finalists`."""
    from llmastool.final import finalists

    return finalists(archive, config)


@task(name="write-final", tags=["final"], cache_policy=NO_CACHE)
def write_final(
    out: Path, archive: Path, results: Sequence[tuple[Candidate, Trainings]], registry: Path, data: Path
) -> dict[str, Json]:
    """Write the winner and all results, and `curves.csv` for plots; return the metrics. See `llmastool.final.write`."""
    from llmastool.final import write

    metrics: dict[str, Json] = write(out, archive, results, registry, data)
    write_atomic(out / "curves.csv", curves(results))
    return metrics


def curves(results: Sequence[tuple[Candidate, Trainings]]) -> str:
    """Return every epoch of every training as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["network", "seed", *CURVE])
    for candidate, trainings in results:
        for seed, outcome, _ in trainings:
            writer.writerows([candidate.name, seed, *(epoch.get(k, "") for k in CURVE)] for epoch in outcome.curve)
    return text.getvalue()
