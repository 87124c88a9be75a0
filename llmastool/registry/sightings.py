"""Run programs of a source inside the sandbox and write down how they built and called its modules."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from llmastool.canonical import Json, digest, dumps
from llmastool.mining.bundle import Program
from llmastool.registry.capture import Calls, Captured, calls, capture
from llmastool.registry.inputs import BATCH, seen
from llmastool.registry.loading import PREFIX, VirtualPackage
from llmastool.registry.seen import Seen, Sighting
from llmastool.registry.values import encode, plain_name

_MOST = 4
"""Most different constructor calls of a class that are kept of one program."""

_SIZES = (224, 64, 256, 32, 384, 299)
"""Sizes of images that a network is shown, in order, until it takes one."""


def run_program(program: Program) -> Seen:
    """Run a program without computing, and return what was seen of its source's modules. What it raises ends it only.

    Args:
        program: a factory function, whose network is then shown an image, or an example, which calls what it builds.
    """
    found: Seen = {}
    for device in ("meta", "cpu"):
        with torch.device(device), capture() as built, calls() as called, contextlib.suppress(Exception):
            _run(program)
        found = sightings(built, called, program.name)
        if any(s.calls for all_of in found.values() for s in all_of):
            return found
    return found


def _run(program: Program) -> None:
    package = VirtualPackage(PREFIX + digest([program.name, program.module])[:12], program.files)
    if program.kind == "example":
        package.execute(program.module)
        return
    net = package.lookup(program.module, program.name[len(program.module) + 1 :])()
    if isinstance(net, nn.Module):
        show(net)


def show(net: nn.Module) -> None:
    """Call a network with images until it takes one."""
    with torch.no_grad():
        for size in _SIZES:
            with contextlib.suppress(Exception):
                net(torch.zeros(BATCH, 3, size, size))
                return


def sightings(built: Captured, called: Calls, origin: str) -> Seen:
    """Return what was seen of mined classes, encoded; what cannot be written down is left out."""
    found: Seen = {}
    known: set[str] = set()
    for module, construction in built.items():
        name = plain_name(type(module)) if type(module).__module__.startswith(PREFIX) else None
        if name is None or not construction.complete or len(found.get(name, ())) >= _MOST:
            continue
        try:
            args = {k: encode(v, plain_name, lambda m: _tree(m, built)) for k, v in construction.args.items()}
        except TypeError:
            continue
        key = dumps([name, args])
        if key not in known:
            known.add(key)
            shown = _shown(called.get(module, []))
            found.setdefault(name, []).append(Sighting(args=args, calls=tuple(shown), origin=f"seen in {origin}"))
    return found


def _tree(module: nn.Module, built: Captured) -> Json:
    """Return a module among arguments as a tree without edited children.

    Raises:
        TypeError: it was not seen being built, or its class has no name.
    """
    name, construction = plain_name(type(module)), built.get(module)
    if name in ("torch.nn.Sequential", "torch.nn.ModuleList"):
        raise TypeError("a container cannot be written as an argument")
    if name is None or construction is None or not construction.complete:
        raise TypeError(f"{type(module).__name__} cannot be written as an argument: its constructor was not seen")
    args = {k: encode(v, plain_name, lambda m: _tree(m, built)) for k, v in construction.args.items()}
    return {"module": name, "args": args}


def _shown(seen_calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]) -> Iterator[Json]:
    for args, kwargs in seen_calls:
        written = seen(args, kwargs)
        if written is not None:
            yield written
