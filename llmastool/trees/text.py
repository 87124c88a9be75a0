"""Trees as lines for a reader: what is in one, with shapes and costs, and what differs between two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from llmastool.canonical import Json
from llmastool.mining.bundle import Bundle
from llmastool.registry import words
from llmastool.registry.words import last_name
from llmastool.trees.diff import differences
from llmastool.trees.profile import Profile, Shape, Slot
from llmastool.trees.tree import SAME, Tree, ancestors


@dataclass(frozen=True, kw_only=True)
class Line:
    """One slot of a network."""

    path: str
    depth: int
    """How many slots lie above it."""
    module: str
    """Its class, with its arguments."""
    out_shape: Shape | None
    parameters: int
    flops: int
    """Multiply-adds for one image."""
    origin: str
    """Where the class was mined; empty for those of PyTorch and our own."""


def lines(profile: Profile, bundles: Mapping[str, Bundle], depth: int | None = None) -> list[Line]:
    """Return a network's slots as lines, in the order of the first call.

    Args:
        profile: the network.
        bundles: the mined modules by id.
        depth: only slots with fewer than so many above them; None for all.
    """
    paths = {slot.path for slot in profile.slots}
    found = []
    for slot in profile.slots:
        above = sum(path in paths for path in ancestors(slot.path))
        if depth is None or above < depth:
            found.append(_line(slot, above, bundles))
    return found


def _line(slot: Slot, above: int, bundles: Mapping[str, Bundle]) -> Line:
    return Line(
        path=slot.path,
        depth=above,
        module=called(slot.module, slot.args) if slot.module else "a class that no registry knows",
        out_shape=slot.out_shape,
        parameters=slot.parameters,
        flops=slot.flops,
        origin=origin(slot.module, bundles),
    )


def origin(module: str, bundles: Mapping[str, Bundle]) -> str:
    """Return where a class was mined, such as `timm 1.0.31 timm/layers/mlp.py:12`; empty where it was not."""
    bundle = bundles.get(module)
    if bundle is None:
        return ""
    return f"{bundle.source.name} {bundle.source.version[:12]} {bundle.path}:{bundle.lines[0]}"


def called(module: str, args: Mapping[str, Json] | None) -> str:
    """Return a constructor's call in short, e.g. `Conv2d(in_channels=3, out_channels=8)`."""
    given = ", ".join(f"{k}={_value(v)}" for k, v in args.items()) if args is not None else "?"
    return f"{last_name(module)}({given})"


def _value(arg: Json) -> str:
    return words.value(arg, last_name, lambda tree: called(tree["module"], tree.get("args", {})))


def diff(old: Tree, new: Tree) -> list[str]:
    """Return what differs between two trees, as a reviewer reads it.

    A line starts with `-` for what went, `+` for what came, and `~` where only arguments changed. Below what went or
    came stand the modules inside it.
    """
    found: list[str] = []
    for difference in differences(old, new):
        before, after = difference.old, difference.new
        where = difference.path or "<root>"
        if before is not None and after is not None and before.module == after.module and before.module != SAME:
            found.append(f"~ {where}  {last_name(before.module)}: {'; '.join(_changed(before.args, after.args))}")
            kept = Tree(before.module, after.args, before.children)
            found += [f"  {line}" for line in (diff(kept, after) if kept != after else ())]
            continue
        found += [f"- {line}" for line in _whole(before, where)]
        found += [f"+ {line}" for line in _whole(after, where)]
    return found


def _changed(before: Mapping[str, Json], after: Mapping[str, Json]) -> Iterator[str]:
    for name in dict.fromkeys((*before, *after)):
        if before.get(name) != after.get(name):
            left = _value(before[name]) if name in before else "default"
            right = _value(after[name]) if name in after else "default"
            yield f"{name} {left} -> {right}"


def _whole(node: Tree | None, path: str) -> Sequence[str]:
    if node is None:
        return []
    found = []
    for below, inner in node.walk():
        indent = "  " * (below.count(".") + 1 if below else 0)
        where = f"{path}.{below}" if below else path
        text = f"the module at {inner.args['path']}" if inner.module == SAME else called(inner.module, inner.args)
        found.append(f"{indent}{where}  {text}")
    return found
