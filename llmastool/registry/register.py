"""Build the registry: probe every bundle, and the modules of `torch.nn`, and write down what came of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from llmastool.canonical import Json, append_line, digest, dumps, read_json, read_lines, write_json
from llmastool.mining.bundle import Bundle, Program, read_bundles, read_programs
from llmastool.registry.dedupe import duplicates
from llmastool.registry.pool import ProbeConfig, RunsJobs, Workload, name_of, run_jobs
from llmastool.registry.record import STAGES, Duplicate, Probe
from llmastool.registry.seen import Seen, Sighting, from_json, merge
from llmastool.registry.store import funnel, write_registry
from llmastool.registry.unbuilt import Proposes, Unbuilt
from llmastool.registry.undescribed import Describes, Undescribed

PROBE_VERSION = 13
"""Raised when probing changes, so that remembered results are not taken for new ones."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


def tenths(say: Callable[[str], object]) -> Progress:
    """Return what says in a line when another tenth is done."""
    said: dict[str, int] = {}

    def progress(what: str, done: int, total: int) -> None:
        if 10 * done // total > said.get(what, 0):
            said[what] = 10 * done // total
            say(f"{done} of {total} {what}")

    return progress


def register(
    bundles: Path,
    out: Path,
    config: ProbeConfig,
    cache: Path | None = None,
    progress: Progress | None = None,
    proposer: Proposes | None = None,
    describer: Describes | None = None,
    runs: RunsJobs = run_jobs,
) -> Json:
    """Probe all bundles of a folder, and write `registry.parquet`, `bundles.jsonl` and `summary.json`.

    Every module is probed. For those that fell, programs of their sources are run, so that real arguments and inputs
    are seen, and they are probed once more with what these and the other modules have shown. Those that still could
    not be built or run are shown to the proposer, and what it proposes counts where it runs.

    Args:
        bundles: folder that mining wrote.
        out: folder to write to.
        config: limits of the probing.
        cache: a file of results so far; what is in it is not probed again, so a stopped run goes on where it was.
        progress: told how far it is.
        proposer: knows arguments for modules that fell, an LLM for example; None for nobody.
        describer: says in a line what a module does; None for nobody.
        runs: runs the jobs.

    Returns:
        The summary: a funnel for each source, modules by family, and the most common reasons for losses.
    """
    mined = read_bundles(bundles / "bundles.jsonl")
    programs = read_programs(bundles / "programs.jsonl")
    natives = native_modules()
    by_id = {b.id: b for b in mined}
    jobs = _Jobs(mined, programs, config, cache, runs)
    modules = [*by_id, *natives]
    done: dict[str, Probe] = {}
    seen: Seen = {}
    for result in jobs.run([_job(m, {}) for m in modules], "modules probed", progress):
        done[result["job"]["module"]] = Probe.from_json(result["probe"])
        merge(seen, from_json(result["seen"]))
    fallen = [m for m in by_id if done[m].stage != "ok" and by_id[m].has_forward]
    covering = _covering(programs, {by_id[m].name for m in fallen})
    for result in jobs.run([{"program": p.name} for p in covering], "programs of the sources run", progress):
        merge(seen, from_json(result["seen"]))
    again = [_job(m, seen) for m in fallen if by_id[m].name in seen]
    done |= _further(jobs.run(again, "modules probed again, as the programs use them", progress), done)
    if proposer is not None:
        left = [m for m in fallen if done[m].stage in ("build", "forward") and by_id[m].signature]
        proposed = _proposed(proposer, [(done[m], by_id[m]) for m in left])
        done |= _further(jobs.run(proposed, "modules probed with proposed arguments", progress), done)
    probes = [done[m] for m in modules]
    alike = duplicates(probes, by_id)
    told = describer.describe(_undescribed(probes, by_id, alike)) if describer is not None else {}
    write_registry(out, probes, mined, natives, alike, told)
    summary = _summary(probes, by_id, read_json(bundles / "summary.json")["sources"], alike)
    write_json(out / "summary.json", summary)
    return summary


def _job(module: str, seen: Seen) -> Json:
    return {"module": module, "seen": [s.to_json() for s in seen.get(module.partition("@")[0], ())]}


def _proposed(proposer: Proposes, fallen: Sequence[tuple[Probe, Bundle]]) -> list[Json]:
    """Return jobs for the modules for which arguments are proposed."""
    proposals = proposer.propose([Unbuilt.of(probe, bundle) for probe, bundle in fallen])
    origin = f"proposed by {proposer.name}"
    sightings = [
        (probe.module, Sighting(args=dict(args), calls=(), origin=origin))
        for (probe, _), args in zip(fallen, proposals, strict=True)
        if args is not None
    ]
    return [{"module": module, "seen": [sighting.to_json()]} for module, sighting in sightings]


def _undescribed(
    probes: Sequence[Probe], bundles: Mapping[str, Bundle], alike: Mapping[str, Duplicate]
) -> list[Undescribed]:
    """Return the mined modules that can be proposed."""
    ready = [p for p in probes if p.stage == "ok" and p.module in bundles and p.module not in alike]
    return [Undescribed.of(probe, bundles[probe.module]) for probe in ready]


def _further(results: Sequence[Json], known: Mapping[str, Probe]) -> dict[str, Probe]:
    """Return the results of the modules that came further than was known."""
    probes = [Probe.from_json(result["probe"]) for result in results]
    return {p.module: p for p in probes if STAGES.index(p.stage) > STAGES.index(known[p.module].stage)}


def _covering(programs: Sequence[Program], names: set[str]) -> list[Program]:
    """Return programs, small ones first, such that every class of these names is in two of them where there are two."""
    wanted = dict.fromkeys(names, 2)
    chosen = []
    for program in sorted(programs, key=lambda p: (sum(len(f.statements) for f in p.files), p.name)):
        useful = [name for name in program.classes if wanted.get(name)]
        if useful:
            chosen.append(program)
            for name in useful:
                wanted[name] -= 1
    return chosen


class _Jobs:
    """Runs jobs, or remembers what came of them."""

    def __init__(
        self,
        bundles: Sequence[Bundle],
        programs: Sequence[Program],
        config: ProbeConfig,
        cache: Path | None,
        runs: RunsJobs,
    ) -> None:
        self.bundles, self.programs, self.config, self.cache, self.runs = bundles, programs, config, cache, runs
        self.known = {line["key"]: line["result"] for line in read_lines(cache)} if cache is not None else {}
        self._package = {b.id: _top(b) for b in bundles} | {p.name: _top(p) for p in programs}
        self._digests = {p.name: digest(p.to_json())[:16] for p in programs}

    def run(self, jobs: Sequence[Json], what: str, progress: Progress | None) -> list[Json]:
        """Return the results of jobs, in the order of the jobs."""
        found = {dumps(j): {**self.known[k], "job": j} for j in jobs if (k := self._key(j)) in self.known}
        left: dict[str, list[Json]] = {}
        for job in jobs:
            if dumps(job) not in found:
                left.setdefault(self._package.get(name_of(job), ""), []).append(job)
        for package, some in left.items():
            for result in self.runs(some, self._workload(package, {name_of(j) for j in some}), self.config):
                found[dumps(result["job"])] = result
                self._remember(result)
                if progress is not None:
                    progress(what, len(found), len(jobs))
        return [found[dumps(j)] for j in jobs]

    def _workload(self, package: str, names: set[str]) -> Workload:
        """Return what jobs about a package's modules refer to: that package alone cannot be imported by them."""
        return Workload(
            bundles=[b for b in self.bundles if _top(b) == package],
            programs=[p for p in self.programs if p.name in names],
            blocked=[package] if package else [],
        )

    def _remember(self, result: Json) -> None:
        message = result.get("message", result.get("probe", {}).get("message", ""))
        if self.cache is not None and not message.startswith("killed"):
            kept = {k: v for k, v in result.items() if k != "job"}
            append_line(self.cache, {"key": self._key(result["job"]), "result": kept})

    def _key(self, job: Json) -> str:
        about = [job, self._digests.get(job.get("program", ""))]
        return digest([about, PROBE_VERSION, version("torch")])[:16]


def _top(mined: Bundle | Program) -> str:
    return mined.module.split(".")[0]


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


def _summary(
    probes: Sequence[Probe],
    bundles: Mapping[str, Bundle],
    sources: Sequence[Json],
    alike: Mapping[str, Duplicate],
) -> Json:
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
        "distinct": sum(p.stage == "ok" and p.module not in alike for p in probes),
        "duplicates": dict(sorted(Counter(d.kind for d in alike.values()).items())),
        "reasons": [{"stage": s, "message": m, "count": n} for (s, m), n in reasons.most_common(20)],
    }
