"""The registry on disk: one table with every module that was found, those that fell included, and the bundles."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from llmastool.canonical import Json, dumps
from llmastool.errors import RegistryError
from llmastool.mining.bundle import Bundle, read_bundles, write_bundles
from llmastool.registry.behaviour import Behaviour, descriptors
from llmastool.registry.contract import Contract
from llmastool.registry.record import STAGES, Duplicate, Probe

TABLE = "registry.parquet"
BUNDLES = "bundles.jsonl"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One registered module: it ran forward and backward, and has a contract."""

    module: str
    """Its id."""
    name: str
    """Qualified name."""
    family: str
    contracts: tuple[Contract, ...]
    """One for each input layout that it takes."""
    behaviour: tuple[str, ...] = ()
    """What it does, in words (`llmastool.registry.behaviour.descriptors`)."""
    docstring: str
    """First lines of its documentation: untrusted text."""
    summary: str = ""
    """What an LLM says that it does, in one line: untrusted text. Empty where none was asked."""
    source: str
    """Name and version of its source."""
    duplicate_of: str = ""
    """Id of the module that stands for it where it is the same as others; empty where it stands for itself."""


class Registry:
    """All registered modules and the bundles behind them, read from a folder."""

    def __init__(self, entries: Sequence[Entry], bundles: Mapping[str, Bundle]) -> None:
        self.entries = {e.module: e for e in entries}
        self.bundles = dict(bundles)

    @staticmethod
    def open(folder: Path) -> Registry:
        """Read a registry.

        Raises:
            RegistryError: the folder holds none, or none of its modules passed.
        """
        import polars as pl

        table = folder / TABLE
        if not table.is_file():
            raise RegistryError(f"{folder}: expected a registry ({TABLE}), found none; run `dvc repro registry`")
        try:
            rows = pl.read_parquet(table).filter(pl.col("stage") == "ok").to_dicts()
        except pl.exceptions.PolarsError as error:
            raise RegistryError(f"{table}: cannot be read ({error}); delete it and run `dvc repro registry`") from error
        if not rows:
            raise RegistryError(
                f"{folder}: expected at least one module that runs, found none; see the column `message` of {TABLE}, "
                "and mine more sources"
            )
        return Registry([_entry(row) for row in rows], {b.id: b for b in read_bundles(folder / BUNDLES)})

    @cached_property
    def distinct(self) -> list[Entry]:
        """Entries that stand for themselves, sorted by id: no two are the same."""
        return sorted((e for e in self.entries.values() if not e.duplicate_of), key=lambda e: e.module)

    @cached_property
    def families(self) -> Mapping[str, list[Entry]]:
        """Distinct entries by family, both sorted."""
        found: dict[str, list[Entry]] = {}
        for entry in self.distinct:
            found.setdefault(entry.family, []).append(entry)
        return dict(sorted(found.items()))

    def family(self, module: str) -> str:
        """Return a module's family, `unknown` when it is not registered."""
        return self.entries[module].family if module in self.entries else "unknown"

    def behaviour(self, module: str) -> tuple[str, ...]:
        """Return what a module does, in words; nothing when it is not registered."""
        return self.entries[module].behaviour if module in self.entries else ()

    def fitting(self, layout: str) -> Iterator[tuple[Entry, Contract]]:
        """Yield every distinct module with a plain contract for an input layout, sorted by id."""
        for entry in self.distinct:
            for contract in entry.contracts:
                if contract.plain and contract.layout_in == layout:
                    yield entry, contract


def _entry(row: Mapping[str, Any]) -> Entry:
    contracts = tuple(Contract.from_json(c) for c in json.loads(row["contracts"]))
    seen = json.loads(row["behaviour"])
    return Entry(
        module=row["module"],
        name=row["name"],
        family=row["family"],
        contracts=contracts,
        behaviour=descriptors(contracts[0], Behaviour(**seen)) if seen else (),
        docstring=row["docstring"],
        summary=row.get("summary") or "",  # there is none in registries of before
        source=f"{row['source']} {row['version']}".strip(),
        duplicate_of=row["duplicate_of"],
    )


def write_registry(
    folder: Path,
    probes: Sequence[Probe],
    bundles: Sequence[Bundle],
    natives: Mapping[str, Mapping[str, str]],
    duplicates: Mapping[str, Duplicate],
    summaries: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write the table and the bundles.

    Args:
        folder: where to.
        probes: one for each module.
        bundles: those of the mined modules.
        natives: for modules that are not mined: id to `source`, `version` and `licence`.
        duplicates: the modules that others stand for.
        summaries: what modules do, in one line, by id.
    """
    import polars as pl

    by_id = {b.id: b for b in bundles}
    rows = [
        {
            **_row(p, by_id.get(p.module), natives.get(p.module, {}), duplicates.get(p.module)),
            "summary": summaries.get(p.module, ""),
        }
        for p in sorted(probes, key=lambda p: p.module)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{TABLE}"
    pl.DataFrame(rows, schema=_SCHEMA).write_parquet(temporary)
    temporary.replace(folder / TABLE)
    write_bundles(folder / BUNDLES, bundles)


_SCHEMA = {
    **dict.fromkeys(("module", "name", "source_kind", "source", "version", "licence", "path"), str),
    **dict.fromkeys(("first_line", "last_line"), int),
    **dict.fromkeys(("stage", "message", "origin", "args", "family", "duplicate_of", "duplicate", "layouts"), str),
    **dict.fromkeys(("parameters", "flops"), int),
    **dict.fromkeys(("contracts", "behaviour", "docstring", "summary"), str),
}


def _row(probe: Probe, bundle: Bundle | None, native: Mapping[str, str], duplicate: Duplicate | None) -> Json:
    first = probe.contracts[0] if probe.contracts else None
    pin = bundle.source if bundle is not None else None
    return {
        "module": probe.module,
        "name": bundle.name if bundle is not None else probe.module,
        "source_kind": pin.kind if pin is not None else "installed",
        "source": pin.name if pin is not None else native.get("source", ""),
        "version": pin.version if pin is not None else native.get("version", ""),
        "licence": pin.licence if pin is not None else native.get("licence", ""),
        "path": bundle.path if bundle is not None else "",
        "first_line": bundle.lines[0] if bundle is not None else None,
        "last_line": bundle.lines[1] if bundle is not None else None,
        "stage": probe.stage,
        "message": probe.message,
        "origin": probe.origin,
        "args": dumps(dict(probe.args)) if probe.args is not None else None,
        "family": probe.family,
        "duplicate_of": duplicate.of if duplicate is not None else "",
        "duplicate": duplicate.kind if duplicate is not None else "",
        "layouts": ",".join(c.layout_in for c in probe.contracts),
        "parameters": first.parameters if first is not None else None,
        "flops": first.flops if first is not None else None,
        "contracts": dumps([c.to_json() for c in probe.contracts]),
        "behaviour": dumps(dict(probe.behaviour)),
        "docstring": bundle.docstring if bundle is not None else native.get("docstring", ""),
    }


def funnel(probes: Sequence[Probe]) -> dict[str, int]:
    """Return how many modules got through each stage: loaded, built, forward, backward, contract."""
    passed = [STAGES.index(p.stage) for p in probes]
    names = ("loaded", "built", "forward", "backward", "contract")
    return {name: sum(p > i for p in passed) for i, name in enumerate(names)}
