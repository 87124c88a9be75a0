"""The winner, module by module: what stands where, with which arguments, and where its code came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmastool.canonical import Json
from llmastool.registry import words
from llmastool.registry.words import last_name
from llmastool.trees.profile import Profile
from llmastool.trees.text import Line, lines
from llmastool.trees.tree import Tree

TORCH, OWN = "torch.", "llmastool."


@dataclass(frozen=True)
class Origin:
    """Where a module's code came from."""

    kind: str
    """`mined`, `torch`, `own` or `unknown`."""
    source: str
    """Name and version of the source, for a reader."""
    place: str = ""
    """File and lines; empty where it is not mined."""
    licence: str = ""
    """SPDX expression as the source states it; empty when unknown."""


@dataclass(frozen=True)
class Node:
    """One node of the winner as the page shows it."""

    slot: str
    """Slot in its parent; empty for the root."""
    module: str
    """Id of the module."""
    name: str
    """Short name of the module."""
    args: str
    """Arguments as a reader would write them in Python."""
    origin: Origin
    status: str
    """Against the network of the start population that it descends from: `new`, `changed` below, or empty."""
    children: tuple[Node, ...]


@dataclass(frozen=True)
class Part:
    """One line of the parts list."""

    module: str
    name: str
    origin: Origin
    count: int
    """How often the tree names it."""


def origin_of(module: str, origins: Mapping[str, Mapping[str, Any]]) -> Origin:
    """Return where a module came from; `origins` is that of `final.json`."""
    if module in origins:
        known = origins[module]
        first, last = known["lines"]
        source = " ".join(filter(None, (known["source"], known["version"])))
        return Origin("mined", source, f"{known['path']}:{first}–{last}", known["licence"])
    if module.startswith(TORCH):
        return Origin("torch", "PyTorch", licence="BSD-3-Clause")
    if module.startswith(OWN):
        return Origin("own", "LLMasTool", licence="Apache-2.0")
    return Origin("unknown", "unknown")


def view(tree: Tree, start: Tree | None, origins: Mapping[str, Mapping[str, Any]]) -> Node:
    """Return a tree as nodes for the page, each compared with the start network, if there is one."""
    before = [node for _, node in start.walk()] if start is not None else []
    whole = {node.id for node in before}
    bare = {Tree(node.module, node.args).id for node in before}

    def convert(slot: str, node: Tree) -> Node:
        status = ""
        if before and node.id not in whole:
            status = "changed" if Tree(node.module, node.args).id in bare else "new"
        children = [convert(name, child) for name, child in node.children]
        children += [convert(f"({name})", Tree.from_json(child)) for name, child in _trees(node.args)]
        origin = origin_of(node.module, origins)
        return Node(slot, node.module, last_name(node.module), arguments(node.args), origin, status, tuple(children))

    return convert("", tree)


def parts(tree: Tree, origins: Mapping[str, Mapping[str, Any]]) -> list[Part]:
    """Return every module that the tree names, in arguments too, with how often; mined ones first."""
    counts: dict[str, int] = {}
    for name in _named(tree):
        counts[name] = counts.get(name, 0) + 1
    found = [Part(name, last_name(name), origin_of(name, origins), count) for name, count in counts.items()]
    rank = {"mined": 0, "own": 1, "torch": 2, "unknown": 3}
    return sorted(found, key=lambda part: (rank[part.origin.kind], -part.count, part.module))


@dataclass(frozen=True)
class Place:
    """One slot of the winner, and what passes through it."""

    line: Line
    origin: Origin
    gives: str
    """Shape of its output without the batch; empty where it gives several."""


def places(profile: Profile, origins: Mapping[str, Mapping[str, Any]]) -> list[Place]:
    """Return every slot that a forward pass calls, in order, those that constructors make among them."""
    found = []
    for slot, line in zip(profile.slots, lines(profile, {}), strict=True):
        shape = "×".join(map(str, line.out_shape[1:])) if line.out_shape is not None else ""
        found.append(Place(line, origin_of(slot.module, origins), shape))
    return found


def arguments(args: Mapping[str, Json]) -> str:
    """Write arguments as in Python, e.g. `planes=64, norm_layer=BatchNorm2d`; module instances are left to children."""
    return ", ".join(f"{name}={literal(value)}" for name, value in args.items())


def literal(value: Json) -> str:
    """Write one argument of a tree as a reader would in Python."""
    return words.value(value, last_name, lambda tree: f"<{last_name(str(tree.get('module', 'module')))}>")


def _trees(value: Json, name: str = "") -> Iterator[tuple[str, Json]]:
    """Yield `(argument, tree)` for the module instances among arguments."""
    if isinstance(value, Mapping):
        if "$tree" in value:
            yield name, {"version": 1, **value["$tree"]}
            return
        for key, item in value.items():
            yield from _trees(item, name or str(key))
    elif isinstance(value, list):
        for item in value:
            yield from _trees(item, name)


def _named(tree: Tree) -> Iterator[str]:
    for _, node in tree.walk():
        yield node.module
        yield from _refs(node.args)


def _refs(value: Json) -> Iterator[str]:
    if isinstance(value, Mapping):
        if "$ref" in value:
            yield str(value["$ref"])
        elif "$tree" in value:
            yield from _named(Tree.from_json({"version": 1, **value["$tree"]}))
        else:
            for item in value.values():
                yield from _refs(item)
    elif isinstance(value, list):
        for item in value:
            yield from _refs(item)
