"""A question in words: the slot in its network and the plan, and each choice in one line."""

from __future__ import annotations

from llmastool.planner.plan import Plan
from llmastool.proposals.fresh import Drawn
from llmastool.proposals.pool import Child
from llmastool.registry.store import Entry
from llmastool.registry.words import arguments, last_name
from llmastool.trees.edits import BESIDE, Edit
from llmastool.trees.fits import BLOCKS
from llmastool.trees.profile import Profile
from llmastool.trees.tree import Tree

MAX_PARTS = 320
"""Longest list of what comes in, in characters: what is grafted can be half a network."""

MAX_ABOUT = 160
"""Longest line of a documentation, in characters."""


def context(plan: Plan, child: Child | Drawn) -> list[str]:
    """Return lines about where a plan's edit goes and what was planned, the same for all its choices."""
    if isinstance(child, Drawn):
        return [f"a network drawn anew, input {child.network.profile.in_shape[1:]}", _reason(plan)]
    parent, slot = child.parent, child.parent.slots[plan.slot]
    around = [s for s in parent.profile.slots if s.leaf]
    place = next((i for i, s in enumerate(around) if s.path.startswith(plan.slot)), 0)
    near = (f"{s.path}: {last_name(s.module)}" for s in around[max(0, place - 3) : place + 4])
    lines = [f"network: input {parent.profile.in_shape[1:]}, {_costs(parent.profile)}"]
    if child.first is not None:
        lines.append(f"edited just now: {child.first.change}")
    lines += [
        f"slot {plan.slot}: {slot.module.partition('@')[0] or 'unknown'} ({slot.family}), "
        f"{slot.in_shape} -> {slot.out_shape}, stage {slot.stage}",
        f"around it: {', '.join(near)}",
    ]
    entry = child.move.entry
    if entry is not None and child.move.edit.node is None:
        lines += [f"what stands there: {line}" for line in _does(entry)]
    return [*lines, _reason(plan)]


def describe(child: Child | Drawn) -> str:
    """Return a choice in one line: what comes in, with which arguments, what it does, what the network then costs."""
    costs = _costs(child.network.profile)
    if isinstance(child, Drawn):
        return f"{child.change}; {costs}"
    edit, entry = child.move.edit, child.move.entry
    comes_in = edit.node is not None and entry is not None
    return "; ".join([_what(edit), *(_does(entry) if comes_in and entry is not None else ()), costs])


def _what(edit: Edit) -> str:
    """Return what an edit does, without the slot, which is the same for all choices."""
    comes = _parts(edit.node) if edit.node is not None else ""
    match edit.kind:
        case "insert":
            return f"{BESIDE[edit.where]}: {comes}"
        case "set_args":
            return arguments(edit.args or {})
        case "repeat":
            return f"{edit.times} times in a row"
        case "widen":
            return f"{edit.factor} times as wide"
        case "move_downsampling":
            return "later" if edit.step > 0 else "earlier"
    return comes or edit.kind


def _parts(node: Tree) -> str:
    """Return the modules of a node, those that are ours by their short names."""
    shown = []
    for _, part in node.walk():
        if part.module.startswith(BLOCKS):
            shown.append(last_name(part.module))
        elif part.module != "torch.nn.Sequential":
            shown.append(f"{part.module.partition('@')[0]}({arguments(part.args)})")
    text = " + ".join(shown)
    return text if len(text) <= MAX_PARTS else f"{text[: MAX_PARTS - 1]}…"


def _does(entry: Entry) -> list[str]:
    """Return what a module does, as it was measured and as it is documented."""
    about = entry.summary or next(iter(entry.docstring.splitlines()), "")
    return [line for line in (", ".join(entry.behaviour), about[:MAX_ABOUT].rstrip(". ")) if line]


def _costs(profile: Profile) -> str:
    return f"{profile.parameters:,} parameters, {profile.flops:,} multiply-adds, depth {profile.depth}"


def _reason(plan: Plan) -> str:
    return (
        f"plan: {plan.kind}, family {plan.family}; chosen for {plan.reason} "
        f"(expected gain {plan.expected_gain:.2f} points, spread {plan.spread:.2f}, novelty {plan.novelty:.2f})"
    )
