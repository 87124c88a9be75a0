"""The page: reads what the stages wrote, and puts it into the template."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from llmastool.canonical import Json, write_atomic
from llmastool.errors import DataError
from llmastool.planner.report import SCORED
from llmastool.registry.words import last_name
from llmastool.report import calibration, charts, costs, lineage, marks, tables, text, timeline, variety, winner
from llmastool.report.inputs import Archive, Row, best_of, load_archive, load_final, load_registry

WIDE, HALF, NARROW = 1080.0, 540.0, 400.0
"""Widths for which charts are drawn, in pixels: the whole page, half of it, a phone."""

SCRIPTS = ("script.js", "panel.js")
"""What the page's one script is made of; a file may name what those before it declare."""


def write_report(archive: Path, final: Path, registry: Path, out: Path) -> None:
    """Write `report.html`: one page with all that it needs inside. Equal inputs give equal bytes.

    Args:
        archive: folder with `archive.json`, as the search stage writes it.
        final: folder with `final.json`, as the final stage writes it.
        registry: folder with the registry's `summary.json`.
        out: folder to write to; it is made if need be.

    Raises:
        DataError: an input is missing, broken or of another version.
        OSError: the page cannot be written.
    """
    context = build_context(load_archive(archive), load_final(final), load_registry(registry))
    write_atomic(out / "report.html", render(context))


def build_context(archive: Archive, final: Json, registry: Json) -> dict[str, Any]:
    """Return all that the template names.

    Raises:
        DataError: the final stage tested networks of another search.
    """
    strangers = [finalist["name"] for finalist in final["finalists"] if finalist["id"] not in archive.by_id]
    if strangers:
        raise DataError(
            f"final.json: expected networks of this search, found {', '.join(strangers)} of another one; "
            "run the final stage again (`dvc repro final` or `llmastool final`)"
        )
    chosen = archive.by_id.get(final["best"]) if final["best"] is not None else None
    best = chosen or best_of(archive.rows)
    predictions = calibration.predictions(archive)
    return {
        "archive": archive,
        "best": best,
        "best_start": best_of([row for row in archive.trained if row.is_start]),
        "start_size": sum(row.is_start for row in archive.rows),
        "splits": _in_order(archive.data["counts"]),
        "finalists": final["finalists"],
        "final": next((f for f in final["finalists"] if f["id"] == final["best"]), None),
        "files": final.get("files") or {},
        "charts": _draw(archive, best, predictions),
        "ancestry": lineage.ancestry(archive, best),
        "changes": {row.order: lineage.changes(archive, row) for row in archive.rows},
        "lineage_summary": lineage.summary(archive, best),
        "progress_summary": charts.progress_summary(archive, best),
        "front": charts.pareto(archive.rows, "parameters"),
        "calibration_summary": calibration.summary(predictions),
        "timeline_summary": timeline.summary(archive, best, predictions),
        "variety_summary": variety.summary(archive.diversity),
        "scored": SCORED,
        "gates": tables.gates(archive.rows),
        "failures": tables.failures(archive.rows),
        "funnel": tables.funnel(registry),
        "stages": tables.FUNNEL,
        "registry": registry,
        "plan_groups": {key: tables.plan_groups(archive, key, SCORED) for key in ("reason", "kind", "family")},
        "explained": {sort: tables.ends(effects) for sort, effects in archive.explained.items() if effects},
        "fillers": tables.fillers(archive.rows),
        "fallbacks": tables.fallbacks(archive.rows),
        "cost": costs.cost(archive.rows),
        "cost_by_round": costs.by_round(archive.rows),
        "time_by_end": costs.by_end(archive.rows),
        "biases": tables.biases(archive.bias),
        "report_columns": tables.columns(archive.planner_reports),
        "reports": [tables.flat(report) for report in archive.planner_reports],
        **_winner(archive, best, final["origins"]),
    }


def _in_order(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    usual = ("train", "validation", "test")
    return sorted(counts.items(), key=lambda item: usual.index(item[0]) if item[0] in usual else len(usual))


def _draw(
    archive: Archive, best: Row | None, predictions: list[calibration.Prediction]
) -> dict[str, tuple[Markup, ...]]:
    """Draw every chart at the widths that the page has use for; no picture where there is nothing to draw."""
    costs = {"parameters": "parameters (log scale)", "flops": "multiply-adds for one image (log scale)"}
    trade = {
        cost: tuple(
            charts.tradeoff(archive, best, cost, label, width=width)
            for width in (HALF, NARROW)
            if any(getattr(row, cost) for row in archive.trained)
        )
        for cost, label in costs.items()
    }
    return {
        "progress": tuple(charts.progress(archive, best, width=w) for w in (WIDE, NARROW)),
        "timeline": tuple(
            timeline.chart(archive, best, predictions, width=w)
            for w in (WIDE, NARROW)
            if any(row.outcome.seconds for row in archive.rows) and archive.trained
        ),
        "calibration": tuple(calibration.chart(predictions, archive, width=w) for w in (HALF, NARROW) if predictions),
        "lineage": (lineage.graph(archive, best, width=WIDE),),
        "in_use": tuple(variety.in_use(archive.diversity, width=w) for w in (HALF, NARROW) if archive.diversity),
        "apart": tuple(variety.apart(archive.diversity, width=w) for w in (HALF, NARROW) if archive.diversity),
        **trade,
    }


def _winner(archive: Archive, best: Row | None, origins: Json) -> dict[str, Any]:
    if best is None:
        return {"tree": None, "parts": [], "places": []}
    root = lineage.ancestry(archive, best)[0].row
    start = root.candidate.tree if root.order != best.order else None
    tree = best.candidate.tree
    profile = archive.profiles.get(best.candidate.id)
    return {
        "tree": winner.view(tree, start, origins),
        "parts": winner.parts(tree, origins),
        "places": winner.places(profile, origins) if profile is not None else [],
    }


def render(context: dict[str, Any]) -> str:
    """Fill the template. Every value is cleaned and escaped on its way in; only our own markup passes as it is."""
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: text.clean(value) if type(value) is str else value,
    )
    environment.filters.update(
        si=text.si,
        fixed=text.fixed,
        percent=text.percent,
        signed=text.signed,
        short=last_name,
        feature=text.feature,
        duration=text.duration,
        cell=_cell,
    )
    environment.globals.update(plural=text.plural, glyph=marks.glyph, dash=marks.dash, post=marks.post, ramp=marks.ramp)
    script = "".join((folder / name).read_text() for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("template.html").render(
        context,
        style=Markup((folder / "style.css").read_text()),
        script=Markup(script),
        script_digest=digest,
    )


def _cell(value: object) -> str:
    """Write a value of which only the type is known."""
    if isinstance(value, bool) or not isinstance(value, float):
        return text.DASH if value is None else str(value)
    return f"{value:.4g}".replace("-", text.MINUS)
