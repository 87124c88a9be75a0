"""The final stage: the best networks trained again over several seeds. The test split is read here and nowhere else."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmastool import seeds
from llmastool.archive import read_archive
from llmastool.candidate import Candidate
from llmastool.canonical import Json, write_atomic, write_json
from llmastool.errors import DataError
from llmastool.final_config import FinalConfig
from llmastool.mining.bundle import Bundle
from llmastool.outcome import Outcome
from llmastool.registry.store import Registry
from llmastool.training.data import load_meta
from llmastool.training.job import Job
from llmastool.trees.export import export

if TYPE_CHECKING:
    from llmastool.params import Params

VERSION = 1
FILES = {"code": "best.py", "tree": "best.json", "weights": "weights.safetensors"}
"""Files of the winner beside `final.json`."""


def finalists(archive: Path, config: FinalConfig) -> list[Candidate]:
    """Return the best candidates of an archive, the winner first; ties go to the earlier.

    They are ranked by the planner's estimates, in which less of the luck of one training is left than in the
    validation accuracies; by these where the search made no estimates.

    Args:
        archive: the file `archive.json`.
        config: how many.

    Raises:
        DataError: there is no archive, or no candidate in it was trained to the end.
    """
    entries = [e for e in read_archive(archive)["entries"] if e["outcome"]["gate"] == "ok"]
    if not entries:
        raise DataError(
            f"{archive}: expected at least one candidate that was trained to the end, found none; "
            "its entries say at which gate each fell"
        )
    estimated = all(e["estimate"] is not None for e in entries)
    best = sorted(entries, key=lambda e: -(e["estimate"] if estimated else _accuracy(e)))
    return [Candidate.from_json(e["candidate"]) for e in best[: config.top]]


def _accuracy(entry: Json) -> float:
    return float(entry["outcome"]["metrics"]["validation_accuracy"])


def final_job(candidate: Candidate, seed: int, params: Params, registry: Path, data: Path) -> Job:
    """Return the training of a finalist with one seed, evaluated on the test split.

    It learns from validation images, too, unless the set took these from its own test split, as NAS-Bench-201 does on
    CIFAR-100 and ImageNet16-120: there networks are compared that never learned from them.
    """
    recipe = params.final.recipe or params.training.recipe
    kept_apart = load_meta(data)["validation_from"] == "test"
    return Job(
        tree=candidate.tree,
        registry=registry,
        data=data,
        recipe=replace(recipe, epochs=params.final.epochs or recipe.epochs),
        seed=seeds.derive(params.seed, "final", seed),
        train_on="train" if kept_apart else "train+validation",
        evaluate_on="test",
        device=params.training.device,
        threads=params.training.threads,
        compile=params.training.compile,
        keep_weights=True,
    )


@dataclass(frozen=True, kw_only=True)
class FinalTraining:
    """One training of the final stage."""

    candidate: Candidate
    seed: int
    """As in `FinalConfig.seeds`."""
    job: Job
    folder: Path


def final_trainings(
    best: Sequence[Candidate], params: Params, registry: Path, data: Path, run: Path
) -> list[FinalTraining]:
    """Return the trainings of the final stage, in folders of their own in the run folder."""
    found = []
    for candidate in best:
        for seed in params.final.seeds:
            job = final_job(candidate, seed, params, registry, data)
            folder = run / "final" / f"{candidate.name}-seed{seed}-{job.key[:8]}"
            found.append(FinalTraining(candidate=candidate, seed=seed, job=job, folder=folder))
    return found


def by_network(
    best: Sequence[Candidate], trainings: Sequence[FinalTraining], outcomes: Sequence[Outcome]
) -> list[tuple[Candidate, list[tuple[int, Outcome, Path]]]]:
    """Return for each finalist, in order, seed, outcome and folder of each of its trainings, as `write` takes them."""
    ended = list(zip(trainings, outcomes, strict=True))
    return [(c, [(t.seed, o, t.folder) for t, o in ended if t.candidate.id == c.id]) for c in best]


def summary(metrics: Json) -> str:
    """Say in a line how the winner did, from the metrics that `write` returned."""
    mean, sd = metrics["test_accuracy_mean"], metrics["test_accuracy_sd"]
    tested = "none of its trainings came to an end" if mean is None else f"test accuracy {mean:.2f}%"
    return f"the winner: {tested}" + (f" ± {sd:.2f} over {metrics['seeds']} seeds" if sd is not None else "")


def write(
    out: Path,
    archive: Path,
    results: Sequence[tuple[Candidate, Sequence[tuple[int, Outcome, Path]]]],
    registry: Path,
    data: Path,
) -> Json:
    """Write `final.json`, `metrics.json`, `best.py`, `best.json` and `weights.safetensors`, and return the metrics.

    Args:
        out: folder to write to.
        archive: the file `archive.json` that the finalists come from.
        results: for each finalist, the winner first: seed, outcome and folder of each training.
        registry: folder of the registry.
        data: folder of the prepared image set.
    """
    entries = {e["candidate"]["id"]: e for e in read_archive(archive)["entries"]}
    rows = [_row(candidate, entries[candidate.id], trainings) for candidate, trainings in results]
    winner, trainings = results[0]
    bundles = Registry.open(registry).bundles
    meta = load_meta(data)
    write_atomic(out / FILES["code"], _code(winner, rows[0], bundles, meta))
    write_json(out / FILES["tree"], winner.tree.to_json())
    kept = next((folder / FILES["weights"] for _, outcome, folder in trainings if outcome.ok), None)
    if kept is not None:
        shutil.copyfile(kept, out / FILES["weights"])
    else:
        (out / FILES["weights"]).unlink(missing_ok=True)  # of another winner
    files = FILES if kept is not None else {k: v for k, v in FILES.items() if k != "weights"}
    mined = {module: bundles.get(module.partition(":")[0]) for module in sorted(set(winner.tree.modules()))}
    origins = {module: _origin(bundle) for module, bundle in mined.items() if bundle is not None}
    write_json(
        out / "final.json",
        {
            "version": VERSION,
            "best": winner.id,
            "finalists": rows,
            "origins": origins,
            "files": dict(files),
            "input": {name: meta[name] for name in ("shape", "mean", "std", "class_names")},
        },
    )
    metrics = {
        "test_accuracy_mean": rows[0]["test_accuracy"]["mean"],
        "test_accuracy_sd": rows[0]["test_accuracy"]["sd"],
        "parameters": rows[0]["parameters"],
        "flops": rows[0]["flops"],
        "seeds": sum(outcome.ok for _, outcome, _ in trainings),
    }
    write_json(out / "metrics.json", metrics)
    return metrics


def _row(candidate: Candidate, entry: Json, trainings: Sequence[tuple[int, Outcome, Path]]) -> Json:
    tested = [o.metrics["test_accuracy"] for _, o, _ in trainings if o.ok]
    each = [
        {"seed": seed, "test_accuracy": o.metrics.get("test_accuracy"), "gate": o.gate, "message": o.message}
        for seed, o, _ in trainings
    ]
    return {
        "id": candidate.id,
        "name": candidate.name,
        "round": candidate.round,
        "parameters": entry["profile"]["parameters"],
        "flops": entry["profile"]["flops"],
        "validation_accuracy": _accuracy(entry),
        "test_accuracy": {
            "mean": statistics.mean(tested) if tested else None,
            "sd": statistics.stdev(tested) if len(tested) > 1 else None,
            "seeds": each,
        },
    }


def _code(candidate: Candidate, row: Json, bundles: Mapping[str, Bundle], meta: Mapping[str, Json]) -> str:
    mean = row["test_accuracy"]["mean"]
    ended = sum(seed["gate"] == "ok" for seed in row["test_accuracy"]["seeds"])
    tested = f"test accuracy {mean:.2f}% over {ended} seeds" if mean is not None else ""
    notes = [
        f"data: {meta['name']}, {meta['classes']} classes",
        f"parameters: {row['parameters']:,}",
        tested,
        f"input: (batch, {', '.join(map(str, meta['shape']))}), (pixels / 255 - mean) / std by channel, where",
        f"  mean = {meta['mean']}",
        f"  std = {meta['std']}",
        "output: logits (batch, classes)",
        "trained weights: net.load_state_dict(safetensors.torch.load_file('weights.safetensors')); net.eval()",
    ]
    return export(
        candidate.tree,
        bundles,
        in_shape=(1, *meta["shape"]),
        title=f"{candidate.name}: found by LLMasTool",
        notes=notes,
    )


def _origin(bundle: Bundle) -> Json:
    return {
        "name": bundle.name,
        "source": bundle.source.name,
        "version": bundle.source.version,
        "licence": bundle.source.licence,
        "path": bundle.path,
        "lines": list(bundle.lines),
    }
