"""Call sites: where a source itself builds its modules, and with which values. Real arguments beat guessed ones."""

from __future__ import annotations

import ast
import warnings
from collections import defaultdict
from collections.abc import Collection, Mapping

from tree_sitter import Node

from llmastool.canonical import Json
from llmastool.mining.bundle import CallSite
from llmastool.mining.index import SourceIndex
from llmastool.mining.nodes import arguments, chain, field, text, walk
from llmastool.mining.parsed import IndexedFile

MAX_SITES = 20
"""Most call sites that are kept for a class; those with the most literal values come first."""


def call_sites(index: SourceIndex, names: Collection[str]) -> Mapping[str, tuple[CallSite, ...]]:
    """Return, by absolute class name, the calls of these classes found in the source."""
    last = {name.split(".")[-1] for name in names}
    wanted = set(names)
    found: dict[str, list[CallSite]] = defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes, in code that is not ours
        for file in index.files.values():
            for node in (n for n in walk(file.root) if n.type == "call"):
                function = field(node, "function")
                dotted = chain(function) if function is not None else None
                if dotted is not None and dotted.split(".")[-1] in last:
                    for target in {f.name for f in index.resolve(file, dotted)} & wanted:
                        found[target].append(_site(index, file, node))
    return {name: tuple(sorted(sites, key=_literal_share, reverse=True)[:MAX_SITES]) for name, sites in found.items()}


def _literal_share(site: CallSite) -> float:
    values = [*site.args, *site.kwargs.values()]
    return sum("expr" not in v for v in values) / len(values) if values else 0.0


def _site(index: SourceIndex, file: IndexedFile, node: Node) -> CallSite:
    args: list[Json] = []
    kwargs: dict[str, Json] = {}
    for item in arguments(node):
        name, value = field(item, "name"), field(item, "value")
        if item.type == "keyword_argument" and name is not None and value is not None:
            kwargs[text(name)] = _value(index, file, value)
        else:
            args.append(_value(index, file, item))
    return CallSite(path=file.source.path, line=node.start_point[0] + 1, args=tuple(args), kwargs=kwargs)


def _value(index: SourceIndex, file: IndexedFile, node: Node) -> Json:
    """Return `{"value": ...}` for a literal or a reference to a class or function, else `{"expr": source text}`."""
    dotted = chain(node)
    if dotted is not None:
        for found in index.resolve(file, dotted):
            if found.statement is None or found.statement.definition is not None:
                return {"value": {"$ref": found.name}}
    try:
        return {"value": as_json(ast.literal_eval(text(node)))}
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return {"expr": text(node)[:200]}


def as_json(value: object) -> Json:
    """Return a Python literal in the encoding of tree arguments.

    Raises:
        TypeError: the value has no such form.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple):
        return {"$tuple": [as_json(v) for v in value]}
    if isinstance(value, list):
        return [as_json(v) for v in value]
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return {k: as_json(v) for k, v in value.items()}
    raise TypeError(f"expected a literal that JSON can hold, got {value!r:.80}")
