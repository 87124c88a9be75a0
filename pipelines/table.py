"""The table of several searches: test accuracy by image set, beside what was published.

python -m pipelines.table FOLDER        with `<set>-<seed>/final/final.json` in it; writes table.md and table.json
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from llmastool.canonical import Json, read_json, write_atomic, write_json
from llmastool.errors import DataError, LLMasToolError

SETS = ("cifar10", "cifar100", "imagenet16-120")

PUBLISHED: Mapping[str, Sequence[float]] = {
    "ResNet of NAS-Bench-201 (Dong & Yang 2020)": (93.97, 70.86, 43.63),
    "best of NAS-Bench-201 (Dong & Yang 2020)": (94.37, 73.51, 47.31),
    "NADER (Yang et al. 2025)": (94.62, 76.00, 50.52),
    "LLMasTool (Yoshimura et al. 2026)": (95.31, 77.83, 53.20),
    "FairNAD (arXiv 2605.19247)": (95.46, 78.17, 52.87),
}
"""Test accuracies in percent on `SETS`, by NAS-Bench-201's recipe of 200 epochs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the table and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.table", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of the searches")
    folder = parser.parse_args(argv).folder
    try:
        found = collect(folder)
    except LLMasToolError as error:
        print(f"table: {error}", file=sys.stderr)
        return 2
    write_json(folder / "table.json", found)
    write_atomic(folder / "table.md", "\n".join(lines(found)) + "\n")
    print("\n".join(lines(found)))
    return 0


def collect(folder: Path) -> dict[str, Json]:
    """Return the winners' test accuracies in percent by image set, over the seeds of the searches.

    A search gives the mean over the trainings of its winner; `mean` and `sd` are over the searches.

    Raises:
        DataError: there is no final stage in the folder, or one had no winner.
    """
    searches: dict[str, list[float]] = {}
    for path in sorted(folder.glob("*-*/final/final.json")):
        match = re.fullmatch(r"(.+)-(\d+)", path.parent.parent.name)
        if match is None:
            continue
        final = read_json(path)
        winner = next((one for one in final["finalists"] if one["id"] == final["best"]), None)
        if winner is None or winner["test_accuracy"]["mean"] is None:
            raise DataError(f"{path}: expected a winner with a test accuracy, found none; its search says why")
        searches.setdefault(match[1], []).append(winner["test_accuracy"]["mean"])
    if not searches:
        raise DataError(f"{folder}: expected <set>-<seed>/final/final.json in it, found none; run the final stages")
    return {name: _spread(values) for name, values in sorted(searches.items(), key=lambda item: _place(item[0]))}


def _place(name: str) -> tuple[int, str]:
    return (SETS.index(name) if name in SETS else len(SETS), name)


def _spread(values: Sequence[float]) -> Json:
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": sd, "searches": len(values), "each": list(values)}


def lines(found: Mapping[str, Json]) -> list[str]:
    """Return the table as Markdown, with what was published for the sets in it."""
    rows = [["", *found], ["---"] * (len(found) + 1)]
    for name, values in PUBLISHED.items():
        known = dict(zip(SETS, values, strict=True))
        if any(one in known for one in found):
            rows.append([name, *(f"{known[one]:.2f}" if one in known else "" for one in found)])
    rows.append(["**this search**", *(f"**{_written(row)}**" for row in found.values())])
    return [f"| {' | '.join(row)} |" for row in rows]


def _written(row: Json) -> str:
    spread = f" ± {row['sd']:.2f}" if row["sd"] is not None else ""
    return f"{row['mean']:.2f}{spread} (n={row['searches']})"


if __name__ == "__main__":
    sys.exit(main())
