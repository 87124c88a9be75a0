"""Build the registry: probe every bundle, and the modules of `torch.nn`, and write down what came of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from llmastool.canonical import Json, append_line, digest, read_json, read_lines, write_json
from llmastool.mining.bundle import Bundle, read_bundles
from llmastool.registry.pool import ProbeConfig, run_probes
from llmastool.registry.probe import Probe
from llmastool.registry.store import funnel, write_registry

PROBE_VERSION = 2
"""Raised when probing changes, so that remembered results are not taken for new ones."""

RegistryConfig = ProbeConfig


def register(
    bundles: Path,
    out: Path,
    config: ProbeConfig,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Json:
    """Probe all bundles of a folder, and write `registry.parquet`, `bundles.jsonl` and `summary.json`.

    Args:
        bundles: folder that mining wrote.
        out: folder to write to.
        config: limits of the probing.
        cache: a file of results so far; what is in it is not probed again, so a stopped run goes on where it was.
        progress: told how many modules are done, of how many.

    Returns:
        The summary: a funnel for each source, modules by family, and the most common reasons for losses.
    """
    mined = read_bundles(bundles / "bundles.jsonl")
    natives = native_modules()
    by_id = {b.id: b for b in mined}
    modules = [*by_id, *natives]
    done = _remembered(cache, modules)
    left = [m for m in modules if m not in done]
    blocked = {b.module.split(".")[0] for b in mined} - {"torch", "llmastool"}
    if left:
        for result in run_probes(left, mined, blocked, config):
            done[result.module] = result
            if cache is not None and not result.message.startswith("killed"):
                append_line(cache, {"key": _cache_key(result.module), "probe": result.to_json()})
            if progress is not None:
                progress(len(done), len(modules))
    probes = [done[m] for m in modules]
    write_registry(out, probes, mined, natives)
    summary = _summary(probes, by_id, read_json(bundles / "summary.json")["sources"])
    write_json(out / "summary.json", summary)
    return summary


def native_modules() -> dict[str, dict[str, str]]:
    """Return the modules that are not mined, with their origin: those of `torch.nn`, and our own blocks."""
    import torch

    from llmastool import __version__, blocks

    def classes(module: object) -> list[type]:
        found = (getattr(module, name) for name in dir(module))
        return [c for c in found if isinstance(c, type) and issubclass(c, torch.nn.Module)]

    mine = {"source": "llmastool", "version": __version__, "licence": "Apache-2.0"}
    theirs = {"source": "torch", "version": version("torch"), "licence": "BSD-3-Clause"}
    own = [c for c in classes(blocks) if c.__module__ == blocks.__name__]
    torchs = [c for c in classes(torch.nn) if not c.__name__.startswith("Lazy")]
    return {
        **{f"llmastool.blocks.{c.__name__}": {**mine, "docstring": _first_lines(c)} for c in own},
        **{f"torch.nn.{c.__name__}": {**theirs, "docstring": _first_lines(c)} for c in torchs},
    }


def _first_lines(cls: type) -> str:
    return " ".join((cls.__doc__ or "").split("\n\n")[0].split())[:300]


def _cache_key(module: str) -> str:
    return digest([module, PROBE_VERSION, version("torch")])[:16]


def _remembered(cache: Path | None, modules: Sequence[str]) -> dict[str, Probe]:
    if cache is None:
        return {}
    keys = {_cache_key(m): m for m in modules}
    found = {}
    for line in read_lines(cache):
        if line["key"] in keys:
            found[keys[line["key"]]] = Probe.from_json(line["probe"])
    return found


def _summary(probes: Sequence[Probe], bundles: Mapping[str, Bundle], sources: Sequence[Json]) -> Json:
    rows = []
    for source in sources:
        own = [p for p in probes if p.module in bundles and bundles[p.module].source.name == source["name"]]
        rows.append({**source, "sliced": len(own), **funnel(own)})
    natives = [p for p in probes if p.module not in bundles]
    native = {
        "name": "torch.nn and blocks",
        "kind": "installed",
        "version": version("torch"),
        "licence": "",
        "digest": "",
    }
    rows.append({**native, "found": len(natives), "sliced": len(natives), **funnel(natives)})
    reasons = Counter(
        (p.stage, p.message.split(" got ")[0][:120]) for p in probes if p.stage != "ok" and p.module in bundles
    )
    return {
        "sources": rows,
        "families": dict(sorted(Counter(p.family for p in probes if p.stage == "ok").items())),
        "reasons": [{"stage": s, "message": m, "count": n} for (s, m), n in reasons.most_common(20)],
    }
