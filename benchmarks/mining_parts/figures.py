"""From what the judges said to the figures that are written down."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.mining_parts.census import Definition
from benchmarks.mining_parts.judging import passed, reason
from benchmarks.mining_parts.structure import structure
from llmastool.canonical import Json
from llmastool.mining.bundle import Bundle

STAGES = ("loaded", "built", "forward", "backward")


def rows(registry: Path) -> list[Json]:
    """Return the mined modules of a registry's table."""
    import polars as pl

    table = pl.read_parquet(registry / "registry.parquet").to_dicts()
    return [
        {**row, "contracts": json.loads(row["contracts"]), "args": json.loads(row["args"] or "null")}
        for row in table
        if "@" in row["module"]
    ]


def funnel(definitions: Sequence[Definition], bundles: Sequence[Bundle], lines: Mapping[str, Json]) -> Json:
    """Return how many definitions of one source came through each stage.

    Args:
        definitions: its census.
        bundles: what was mined of it.
        lines: what the judge said, by module.
    """
    counted = {d.name for d in definitions if d.has_forward}
    said: dict[str, list[Json]] = {}
    for bundle in bundles:
        if bundle.name in counted:
            said.setdefault(bundle.name, []).append(lines[bundle.id])
    result = {"definitions": len(definitions), "defined": len(counted), "sliced": len(said)}
    for stage in STAGES:
        result[stage] = sum(any(passed(line, stage) for line in found) for found in said.values())
    result["built_or_guessed"] = sum(any(_built(line) for line in found) for found in said.values())
    result["contract"] = sum(any(_works(line) for line in found) for found in said.values())
    result["mined_besides"] = len({b.name for b in bundles} - counted)
    return result


def _built(line: Json) -> bool:
    """Return whether a module was built, without a contract by the judge's simplest guess."""
    guessed = [s["guessed"] for s in line["said"] if "guessed" in s]
    return passed(line, "built") or any(g.get("passed") == "built" for g in guessed)


def _works(line: Json) -> bool:
    """Return whether one and the same contract of a module ran forward, as it says, and backward."""
    return any(s.get("passed") == "backward" for s in line["said"])


def unseen(lines: Sequence[Json]) -> Json:
    """Return how often contracts held on shapes that they claim; a claim that killed its process did not hold."""
    claimed = held = contracts = bare = 0
    broken: Counter[str] = Counter()
    for line in lines:
        claims = [s for s in line["said"] if "claim" in s]
        results = [s for s in line["said"] if "claimed" in s]
        claimed += len(claims)
        good = [c["out"] == r["got"] for c, r in zip(claims, results, strict=False)]
        held += sum(good)
        asked = {c["claim"] for c in claims}
        contracts += len(line["item"]["contracts"])
        bare += len(line["item"]["contracts"]) - len(asked)
        if sum(good) < len(claims):
            broken[line["item"]["module"].partition("@")[0]] += len(claims) - sum(good)
    return {
        "claimed": claimed,
        "held": held,
        "share": held / claimed if claimed else None,
        "contracts": contracts,
        "contracts_that_claim_nothing_else": bare,
        "modules_with_a_broken_claim": len(broken),
    }


def reasons(table: Sequence[Json], most: int = 10) -> Json:
    """Return the most common reasons at each stage where modules fell; numbers are left out of them."""
    found: dict[str, Counter[str]] = {}
    for row in table:
        if row["stage"] != "ok":
            message = _alike(row["message"])
            found.setdefault(row["stage"], Counter())[message] += 1
    return {
        stage: {"all": counts.total(), "reasons": [{"message": m, "count": n} for m, n in counts.most_common(most)]}
        for stage, counts in found.items()
    }


def _alike(message: str) -> str:
    """Return a message without its numbers and the folders of its paths, so that those of one kind count together."""
    return re.sub(r"\d+", "N", re.sub(r"/[\w./-]*/", "", message))[:120]


def judged_reasons(lines: Sequence[Json], stage: str, most: int = 10) -> Json:
    """Return the most common reasons for which items fell at a stage of the judge."""
    counts = Counter(_alike(reason(line, stage)) for line in lines)
    return [{"message": m, "count": n} for m, n in counts.most_common(most)]


def slice_lines(bundles: Sequence[Bundle]) -> Json:
    """Return median and 90th percentile of the number of lines of a slice."""
    lengths = sorted(sum(len(text.splitlines()) for f in b.files for _, text in f.statements) for b in bundles)
    return {"median": lengths[len(lengths) // 2], "p90": lengths[int(0.9 * len(lengths))], "most": lengths[-1]}


def distinct(bundles: Mapping[str, Bundle], working: Sequence[str]) -> int:
    """Return how many different structures the working modules have."""
    return len({structure(bundles[module]) for module in working})


def working(lines: Sequence[Json]) -> list[str]:
    """Return the modules that ran forward and backward with a contract."""
    return [line["item"]["module"] for line in lines if _works(line)]
