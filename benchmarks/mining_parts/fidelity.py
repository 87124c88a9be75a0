"""The judge of fidelity: a slice against the class that it was cut from, imported from its own package."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.mining_parts.forked import Tell, Work
from benchmarks.mining_parts.guess import tensors
from benchmarks.mining_parts.modules import Builder, seed_all
from llmastool.canonical import Json
from llmastool.mining.bundle import Bundle, read_bundles
from llmastool.registry.call import example
from llmastool.registry.contract import Contract
from llmastool.registry.values import Resolver


def prepare(request: Json) -> tuple[Sequence[Json], Work]:
    """Read the bundles, and make the original packages importable.

    Args:
        request: `registry`, a folder; `paths`, from which the packages can be imported; `warm`, packages to import
            before any child is forked; `items`, each with a `module` and its first contract.
    """
    bundles = {b.id: b for b in read_bundles(Path(request["registry"], "bundles.jsonl"))}
    sys.path[:0] = request["paths"]
    for name in request["warm"]:
        with contextlib.suppress(Exception):  # then its classes say why, one by one
            importlib.import_module(name)

    def work(item: Json, tell: Tell) -> None:
        _judge(bundles[item["module"]], Contract.from_json(item["contract"]), bundles, tell)

    return request["items"], work


class Originals(Resolver):
    """Finds every mined name in the package that it was mined from."""

    def find(self, ref: str, home: Bundle | None = None) -> Any:
        """Return the original that a reference names."""
        bundle_id, _, inner = ref.partition(":")
        if bundle_id not in self.bundles:
            return super().find(ref, home)
        bundle = self.bundles[bundle_id]
        if not inner:
            return _original(bundle.module, bundle.qualname)
        module = max((f.name for f in bundle.files if inner.startswith(f"{f.name}.")), key=len)
        return _original(module, inner[len(module) + 1 :])


def _original(module: str, path: str) -> Any:
    value: Any = importlib.import_module(module)
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _judge(home: Bundle, contract: Contract, bundles: dict[str, Bundle], tell: Tell) -> None:
    try:
        originals = Originals(bundles)
        original = Builder(originals.find(home.id), home, originals).build(contract.args)
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything
        tell({"unchecked": f"{type(error).__name__}: {error}"[:300]})
        return
    try:
        resolver = Resolver(bundles)
        copy = Builder(resolver.find(home.id), home, resolver).build(contract.args)
        copy.load_state_dict(original.state_dict(), strict=True)
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything
        tell({"differs": f"cannot be built beside the original: {type(error).__name__}: {error}"[:300]})
        return
    for mode in ("train", "eval"):
        one, other = (_outputs(net, contract, training=mode == "train") for net in (original, copy))
        if isinstance(one, str) and mode == "eval" and one == other:
            continue  # neither runs in eval mode
        if isinstance(one, str) or not one:
            tell({"unchecked": one or "no tensor came out"})
            return
        if isinstance(other, str) or not _equal(one, other):
            tell({"differs": f"{mode}: {other if isinstance(other, str) else 'other values'}"[:300]})
            return
    tell({"equal": True})


def _outputs(net: nn.Module, contract: Contract, *, training: bool) -> list[torch.Tensor] | str:
    net.train(training)
    seed_all()
    args, kwargs = contract.call.inputs(example(contract.in_shape, contract.call.dtype, seed=2), 2)
    try:
        with torch.no_grad():
            return [t.clone() for t in tensors(net(*args, **kwargs))]
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything
        return f"{type(error).__name__}: {error}"[:300]


def _equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(
        a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.nan_to_num(7.5), b.nan_to_num(7.5))
        for a, b in zip(one, other, strict=True)
    )
