"""One module of the registry, as text for a reader and as JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence

from llmastool.canonical import Json
from llmastool.mining.bundle import Bundle, Parameter
from llmastool.registry.query import Row, contracts_of
from llmastool.registry.words import describe

_ASIDE = 14
"""Width of the left column, in characters."""

_ORIGIN = (
    "module",
    "name",
    "duplicate",
    "source_kind",
    "source",
    "version",
    "licence",
    "path",
    "first_line",
    "last_line",
)
"""What is kept of the origin of a duplicate."""


def as_value(row: Row, bundle: Bundle | None, same: Sequence[Row]) -> Json:
    """Return all that is known of a module as JSON; `bundle` holds its source, null where it was not mined."""
    parsed = {"contracts": json.loads(row["contracts"]), "behaviour": json.loads(row["behaviour"])}
    also = [{key: other[key] for key in _ORIGIN} for other in same]
    return {**row, **parsed, "same": also, "bundle": None if bundle is None else bundle.to_json()}


def as_text(row: Row, bundle: Bundle | None, same: Sequence[Row]) -> Iterator[str]:
    """Yield the lines that show a module: provenance, signature, contracts and sliced source.

    Args:
        row: its line in the table.
        bundle: its code, None where it was not mined.
        same: the lines of the modules that it stands for.
    """
    yield row["name"]
    yield from _entries(_provenance(row))
    yield from _entries((f"{other['duplicate']}", _where(other)) for other in same)
    if bundle is not None:
        yield ""
        yield "SIGNATURE"
        yield f"  {_signature(bundle.qualname, bundle.signature)}"
        yield f"  {_signature('forward', bundle.forward)}"
    if row.get("summary"):
        yield ""
        yield "IN SHORT, AS AN LLM SAYS"
        yield f"  {row['summary']}"
    if row["docstring"]:
        yield ""
        yield "DOCUMENTATION"
        yield textwrap.indent(textwrap.dedent(row["docstring"]).strip(), "  ")
    for contract in contracts_of(row):
        yield ""
        yield f"CONTRACT {contract.layout_in} -> {contract.layout_out}"
        yield from _entries(describe(contract))
    yield ""
    if bundle is None:
        yield "SOURCE: not mined; it comes with the package"
        return
    lines = sum(text.count("\n") + 1 for file in bundle.files for _, text in file.statements)
    yield f"SOURCE ({lines} lines of {len(bundle.files)} file{'s' if len(bundle.files) > 1 else ''})"
    for file in bundle.files:
        yield f"# ---- {file.name}"
        yield file.text.rstrip("\n")


def _provenance(row: Row) -> Iterator[tuple[str, str]]:
    yield "id", row["module"]
    if row["duplicate_of"]:
        yield "same as", f"{row['duplicate_of']} ({row['duplicate']})"
    version = f" {row['version']}" if row["version"] else ""
    yield "source", f"{row['source']}{version} ({row['source_kind']})"
    yield "licence", row["licence"] or "not stated"
    if row["path"]:
        yield "file", f"{row['path']}, lines {row['first_line']} to {row['last_line']}"
    yield "family", row["family"]
    yield "stage", row["stage"] + (f": {row['message']}" if row["message"] else "")
    if row["origin"]:
        yield "arguments", f"from {row['origin']}"


def _where(row: Row) -> str:
    """Return where a duplicate comes from, in one line."""
    place = f", {row['path']}, line {row['first_line']}" if row["path"] else ""
    return (
        f"also {row['name']} of {row['source']} {row['version'][:12]}{place}; {row['licence'] or 'no licence stated'}"
    )


def _entries(entries: Iterator[tuple[str, str]]) -> Iterator[str]:
    return (f"  {about.ljust(_ASIDE)}{said}" for about, said in entries)


def _signature(name: str, parameters: tuple[Parameter, ...]) -> str:
    shown, keyword = [], False
    for parameter in parameters:
        star = {"var_positional": "*", "var_keyword": "**"}.get(parameter.kind, "")
        if parameter.kind == "keyword" and not keyword:
            shown.append("*")
        keyword = keyword or parameter.kind in ("keyword", "var_positional")
        annotation = f": {parameter.annotation}" if parameter.annotation else ""
        default = (
            "" if parameter.default is None else f" = {parameter.default}" if annotation else f"={parameter.default}"
        )
        shown.append(f"{star}{parameter.name}{annotation}{default}")
    return f"{name}({', '.join(shown)})"
