"""Parts of a network, each run once on the meta device, where nothing is computed, to note what passes its slots.

What a part shows depends on itself and on what comes in, so it is looked at once, in however many networks it stands. A
sequence is the parts in it, one after the other: of an edited network, only the part that changed is built and run.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TypeAlias

from torch import nn

from llmastool.errors import RegistryError, TreeError
from llmastool.modes import drawing_alike
from llmastool.seeds import derive
from llmastool.trees.axes import layout_of
from llmastool.trees.borrow import borrowed
from llmastool.trees.catalog import Catalog
from llmastool.trees.flow import Flow
from llmastool.trees.part import ROOT, Part, Signal
from llmastool.trees.profile import Slot
from llmastool.trees.scene import Again, Scene, per, side
from llmastool.trees.tree import Tree, join

_SEQUENCE = "torch.nn.Sequential"


Found: TypeAlias = Part | str
"""A part, or why there is none: a message that starts with a path."""


def observe(tree: Tree, catalog: Catalog, signal: Signal) -> Part:
    """Build a subtree, run it once, and return what was seen.

    Args:
        tree: the subtree.
        catalog: where its modules come from.
        signal: its input.

    Raises:
        TreeError: it cannot be built, or its forward fails; the message starts with the path from here.
        RegistryError: the catalog lacks a module.
    """
    found: Found = catalog.parts.get((tree.id, signal), lambda: _found(tree, catalog, signal))
    if isinstance(found, str):
        raise TreeError(found)
    return found


def _found(tree: Tree, catalog: Catalog, signal: Signal) -> Found:
    try:
        return _composed(tree, catalog, signal) or _observed(tree, catalog, signal)
    except TreeError as error:
        return str(error)


def _composed(tree: Tree, catalog: Catalog, signal: Signal) -> Part | None:
    """Return what is seen of a sequence, from its parts; None where it has to be looked at as a whole."""
    if tree.module != _SEQUENCE or tree.args or not tree.children or any(tree.shared()):
        return None
    parts: list[Part] = []
    flows: list[tuple[Flow, int]] = []
    now, before = signal, 1
    for slot, child in tree.children:
        try:
            part = observe(child, catalog, now)
        except (TreeError, RegistryError) as error:
            where, _, why = str(error).partition(": ")
            raise type(error)(f"{join(slot, '' if where == ROOT else where)}: {why}") from error
        parts.append(part.at(slot))
        if isinstance(part.out, str):
            return None
        flows.append((part.flow, before))
        now, before = part.out, before + len(part.slots)
    parameters, flops = sum(p.parameters for p in parts), sum(p.flops for p in parts)
    own = Slot(
        path="",
        module=_SEQUENCE,
        family=catalog.family(_SEQUENCE),
        behaviour=catalog.behaviour(_SEQUENCE),
        args={},
        in_shape=signal.shape,
        out_shape=now.shape,
        layout=layout_of(signal.shape),
        calls=1,
        parameters=parameters,
        flops=flops // per(signal),
        stage=0,
        leaf=False,
    )
    slots = [own, *(slot for part in parts for slot in part.slots)]
    sizes = [side(signal.shape), *(size for part in parts for size in part.sizes)]
    return Part(tuple(slots), tuple(sizes), now, parameters, flops, Flow.in_row(flows))


def _observed(tree: Tree, catalog: Catalog, signal: Signal, *, recalling: bool = True) -> Part:
    """Look at a subtree as a whole. What it draws by chance is the same each time."""
    while True:
        with suppress(Again), drawing_alike(derive(0, "parts", tree.id)), borrowed(tree, catalog) as lent:
            _require_numbers(lent.net)
            scene = Scene(lent.net, lent.captured, tree, catalog, signal)
            part = scene.look(recalling=recalling)
            lent.as_it_was = scene.left_nothing
            return part


def _require_numbers(net: nn.Module) -> None:
    for name, parameter in net.named_parameters():
        if not nn.parameter.is_lazy(parameter) and not parameter.numel():
            where, _, name = name.rpartition(".")
            raise TreeError(f"{where or ROOT}: forward fails: its parameter {name} holds no numbers")
