"""The tree: a frozen value that says how to build a network. Edits make new trees; no tree is ever changed.

A node names a module, the arguments of its constructor, and those children that differ from what the constructor
builds by itself, each under the dotted path of its slot (`layer1.0.conv2`). The containers of `torch.nn`
(`Sequential`, `ModuleList`, `ModuleDict`) build nothing by themselves, so all their children are stored, in order.

An argument is a JSON value. What JSON cannot hold is written as a mapping with one key:
`{"$ref": name}` is a class or function, `{"$tree": tree}` a module instance, `{"$tuple": [...]}` a tuple,
`{"$partial": {"func": ..., "args": [...], "kwargs": {...}}}` a `functools.partial`, `{"$call": ...}`, in the same
form, what that call gives: a settings object, for one; and `{"$object": {"class": name, "state": {...}}}` an object
with these attributes. Where a constructor takes any number of arguments, the argument `*` is the list of all
positional ones.

The node `same`, with the argument `path`, stands for the very module that stands at another path, counted from the
root: the two share their weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from llmastool.canonical import Json, digest
from llmastool.errors import TreeError

VERSION = 1
"""Version of the JSON form; a tree of another version is refused."""

SAME = "same"
"""Id of the node that stands for a module at another path."""

POSITIONAL = "*"
"""Name of the argument that holds all positional ones."""

CONTAINERS = frozenset({"torch.nn.Sequential", "torch.nn.ModuleList", "torch.nn.ModuleDict"})
"""Modules that hold only what they are given, so that a tree stores all their children, in order."""


@dataclass(frozen=True)
class Tree:
    """One node and all below it."""

    module: str
    """Id of the module: `torch.nn.Conv2d`, `llmastool.blocks.Residual`, or the id of a bundle."""
    args: Mapping[str, Json] = field(default_factory=dict)
    """Constructor arguments by name, in the order of the names; those left out take their defaults."""
    children: tuple[tuple[str, Tree], ...] = ()
    """Children by slot. Sorted by slot, but for containers, whose order is the order of execution."""

    def __post_init__(self) -> None:
        slots = [slot for slot, _ in self.children]
        if len(set(slots)) != len(slots):
            raise TreeError(f"{self.module}: a slot is filled twice in {slots}")
        if not self.is_container and slots != sorted(slots):
            object.__setattr__(self, "children", tuple(sorted(self.children, key=lambda child: child[0])))
        if self.args:
            # A tree that was read back says all it says in the same order as the one that was written.
            object.__setattr__(self, "args", _sorted(dict(self.args)))

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def is_container(self) -> bool:
        """Whether all children are stored here, because the module builds none by itself."""
        return self.module in CONTAINERS

    @cached_property
    def id(self) -> str:
        """Hash of the canonical JSON form, 16 hexadecimal digits: the candidate's id everywhere."""
        return digest(self._body())[:16]

    def _body(self) -> Json:
        body: dict[str, Any] = {"module": self.module}
        if self.args:
            body["args"] = dict(self.args)
        if self.children:
            body["children"] = [[slot, child._body()] for slot, child in self.children]
        return body

    def to_json(self) -> Json:
        """Return the canonical JSON form, version included."""
        return {"version": VERSION, **self._body()}

    @staticmethod
    def from_json(value: Json) -> Tree:
        """Read a tree back from its JSON form.

        Raises:
            TreeError: another version, or not a tree; the message names the path of the offending node.
        """
        if not isinstance(value, Mapping) or value.get("version") != VERSION:
            version = value.get("version") if isinstance(value, Mapping) else None
            raise TreeError(f"<root>: expected a tree of version {VERSION}, got version {version!r}; export it again")
        try:
            return _parse({k: v for k, v in value.items() if k != "version"}, "")
        except RecursionError:
            raise TreeError(
                "<root>: expected a tree that a recursive walk can follow, got one nested too deep"
            ) from None

    def child(self, slot: str) -> Tree | None:
        """Return the stored child at `slot`, or None where the constructor's own module stands."""
        return dict(self.children).get(slot)

    def locate(self, path: str) -> tuple[tuple[str, ...], str]:
        """Split a dotted path into the stored slots that lead towards it and what is left below the last of them.

        The rest is empty when `path` is itself a stored node.
        """
        steps: list[str] = []
        node, rest = self, path
        while rest:
            for slot, child in node.children:
                if rest == slot or rest.startswith(f"{slot}."):
                    steps.append(slot)
                    node, rest = child, rest[len(slot) + 1 :]
                    break
            else:
                break
        return tuple(steps), rest

    def at(self, path: str) -> Tree | None:
        """Return the stored node at a dotted path from here, or None where a constructor's own module stands."""
        steps, rest = self.locate(path)
        if rest:
            return None
        node = self
        for step in steps:
            child = node.child(step)
            assert child is not None
            node = child
        return node

    def with_node(self, path: str, node: Tree | None) -> Tree:
        """Return this tree with `node` stored at `path`; None removes a stored node.

        A removed child of a container is gone; elsewhere the constructor's own module comes back.

        Raises:
            TreeError: there is no such stored node to remove, or a container has no such child to descend into.
        """
        if not path:
            if node is None:
                raise TreeError("<root>: the root of a tree cannot be removed")
            return node
        return self._with(path, node, path)

    def _with(self, path: str, node: Tree | None, whole: str) -> Tree:
        for index, (slot, child) in enumerate(self.children):
            if path == slot:
                new = ((slot, node),) if node is not None else ()
                return replace(self, children=self.children[:index] + new + self.children[index + 1 :])
            if path.startswith(f"{slot}."):
                below = child._with(path[len(slot) + 1 :], node, whole)
                return replace(self, children=(*self.children[:index], (slot, below), *self.children[index + 1 :]))
        if node is None:
            raise TreeError(f"{whole}: no stored node to remove")
        if self.is_container and "." in path:
            raise TreeError(
                f"{whole}: {self.module} has no child {path.split('.')[0]!r}; it has {list(dict(self.children))}"
            )
        kept = tuple(c for c in self.children if not c[0].startswith(f"{path}."))
        return replace(self, children=(*kept, (path, node)))

    def walk(self, prefix: str = "") -> Iterator[tuple[str, Tree]]:
        """Yield `(path, node)` for every stored node, this one first, in order."""
        yield prefix, self
        for slot, child in self.children:
            yield from child.walk(f"{prefix}.{slot}" if prefix else slot)

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield `(path, id)` for every module that the tree names, with repeats; in arguments, at the node's path."""
        for path, node in self.walk():
            if node.module != SAME:
                yield path, node.module
                yield from ((path, found) for found in _references(dict(node.args)))

    def modules(self) -> Iterator[str]:
        """Yield the ids of all modules that the tree names, those in arguments included, with repeats."""
        yield from (module for _, module in self.named())

    def shared(self) -> Iterator[tuple[str, str]]:
        """Yield `(path, path of the module that stands there too)` for every node `same`."""
        for path, node in self.walk():
            if node.module == SAME:
                yield path, str(node.args["path"])


def _sorted(value: Json) -> Json:
    """Return a JSON value whose mappings have their keys in order."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(part) for part in value] if isinstance(value, list) else value


def _references(value: Json) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _references(item)
    elif isinstance(value, Mapping):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        if isinstance(value.get("$object"), Mapping):
            yield value["$object"]["class"]
        if "$tree" in value:
            yield from from_body(value["$tree"]).modules()
        else:
            for item in value.values():
                yield from _references(item)


def join(path: str, slot: str) -> str:
    """Return the dotted path of a slot below a path; either may be empty."""
    return f"{path}.{slot}" if path and slot else path or slot


def ancestors(path: str) -> Iterator[str]:
    """Yield the dotted paths above a path, the nearest first and the root's, which is empty, last."""
    while path:
        path = path.rpartition(".")[0]
        yield path


def from_body(value: Json, path: str = "") -> Tree:
    """Read a node that stands inside another's arguments, where the version is left out; `path` is for messages."""
    return _parse(value, path)


def _parse(value: Json, path: str) -> Tree:
    where = path or "<root>"
    if not isinstance(value, Mapping) or not isinstance(value.get("module"), str):
        raise TreeError(f"{where}: expected a node with a module's id, got {value!r:.80}")
    unknown = set(value) - {"module", "args", "children"}
    if unknown:
        raise TreeError(f"{where}: unknown keys {sorted(unknown)}; a node has module, args and children")
    args, children = value.get("args", {}), value.get("children", [])
    if not isinstance(args, Mapping) or not isinstance(children, list):
        raise TreeError(f"{where}: args must be a mapping and children a list of [slot, node]")
    if value["module"] == SAME and not (set(args) == {"path"} and isinstance(args["path"], str) and not children):
        raise TreeError(f"{where}: expected the node `same` with a path and nothing else, got {value!r:.80}")
    parsed = []
    for item in children:
        if not (isinstance(item, list) and len(item) == 2 and isinstance(item[0], str) and item[0]):
            raise TreeError(f"{where}: expected a child as [slot, node], got {item!r:.80}")
        parsed.append((item[0], _parse(item[1], f"{path}.{item[0]}" if path else item[0])))
    return Tree(value["module"], dict(args), tuple(parsed))
