"""The judge of a registry's modules: load, build, forward, backward, and shapes that were never tried before."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.mining_parts.forked import Tell, Work, block_imports
from benchmarks.mining_parts.guess import tensors, try_class
from benchmarks.mining_parts.unseen import unseen
from llmastool.canonical import Json
from llmastool.mining.bundle import Bundle, read_bundles
from llmastool.registry.call import example
from llmastool.registry.contract import Contract
from llmastool.registry.values import Resolver
from llmastool.trees.profile import Shape

CLAIMS = 5
"""Unseen shapes that are tried for each contract."""


def prepare(request: Json) -> tuple[Sequence[Json], Work]:
    """Read the bundles of a registry, once for all children.

    Args:
        request: `registry`, a folder; `items`, each with a `module`, its `contracts` and `args`; `blocked`, the
            packages of each source by its name.
    """
    bundles = {b.id: b for b in read_bundles(Path(request["registry"], "bundles.jsonl"))}
    resolver = Resolver(bundles)

    def work(item: Json, tell: Tell) -> None:
        home = bundles[item["module"]]
        block_imports(set(request["blocked"][home.source.name]))
        _judge(item, home, resolver, tell)

    return request["items"], work


def _judge(item: Json, home: Bundle, resolver: Resolver, tell: Tell) -> None:
    try:
        cls = resolver.find(home.id)
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything
        tell({"fell": "load", "message": f"{type(error).__name__}: {error}"[:300]})
        return
    tell({"passed": "loaded"})
    contracts = [Contract.from_json(c) for c in item["contracts"]]
    if not contracts:
        _judge_fallen(item, home, cls, resolver, tell)
        return
    builder = Builder(cls, home, resolver)
    for number, contract in enumerate(contracts):
        _at_probe(number, contract, builder, tell)
    rng = random.Random(f"{item['seed']} {home.id}")
    for number, contract in enumerate(contracts):
        for given, wanted, args in unseen(contract, CLAIMS, rng):
            tell({"claim": number, "in": given, "out": wanted})
            tell({"claimed": number, "got": _shape_for(contract, given, args, builder)})


def _judge_fallen(item: Json, home: Bundle, cls: type[nn.Module], resolver: Resolver, tell: Tell) -> None:
    """Judge a module without a contract: with the arguments that the registry names, or by the simplest guess."""
    if item.get("args") is None:
        try_class(cls, lambda said: tell({"guessed": said}))
        return
    try:
        Builder(cls, home, resolver).build(item["args"])
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything
        tell({"fell": "build", "message": f"{type(error).__name__}: {error}"[:300]})
        return
    tell({"passed": "built"})


def seed_all() -> None:
    """Seed all that a module may draw from: PyTorch, Python and NumPy."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)


class Builder:
    """Builds one class from arguments as a registry writes them."""

    def __init__(self, cls: type[nn.Module], home: Bundle, resolver: Resolver) -> None:
        self.cls, self.home, self.resolver = cls, home, resolver

    def build(self, args: Json) -> nn.Module:
        """Return the module in train mode, initialised from a fixed seed."""
        seed_all()
        net = self.cls(**{k: self.resolver.decode(v, self.home) for k, v in args.items()})
        net.train()  # its own `train` may return nothing
        return net


def _at_probe(number: int, contract: Contract, builder: Builder, tell: Tell) -> None:
    stage = "build"
    try:
        net = builder.build(contract.args)
        tell({"passed": "built", "contract": number})
        stage = "forward"
        out = _run(net, contract, contract.in_shape)
        if tuple(out.shape) != contract.out_shape:
            raise ValueError(f"expected {contract.out_shape}, got {tuple(out.shape)}")
        tell({"passed": "forward", "contract": number})
        stage = "backward"
        _backward(net, contract)
        tell({"passed": "backward", "contract": number})
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything
        tell({"fell": stage, "contract": number, "message": f"{type(error).__name__}: {error}"[:300]})


def _run(net: nn.Module, contract: Contract, shape: Shape, seed: int = 1) -> torch.Tensor:
    seed_all()
    args, kwargs = contract.call.inputs(example(shape, contract.call.dtype, seed=seed), seed)
    with torch.no_grad():
        out: torch.Tensor = contract.call.pick(net(*args, **kwargs))
    return out


def _backward(net: nn.Module, contract: Contract) -> None:
    x = example(contract.in_shape, contract.call.dtype, seed=1)
    leaf = x.requires_grad_() if x.is_floating_point() else x
    args, kwargs = contract.call.inputs(leaf + 0 if leaf.requires_grad else leaf, 1)
    seed_all()
    out = contract.call.pick(net(*args, **kwargs))
    (out * torch.randn(out.shape)).sum().backward()
    gradients = [t.grad for t in (leaf, *net.parameters()) if t.grad is not None]
    if not gradients:
        raise ValueError("nothing got a gradient")
    if not all(torch.isfinite(g).all() for g in gradients) or not all(torch.isfinite(t).all() for t in tensors(out)):
        raise ValueError("the output or a gradient is not finite")


def _shape_for(contract: Contract, given: Shape, args: Json, builder: Builder) -> Json:
    try:
        return list(_run(builder.build(args), contract, given).shape)
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything; then the claim does not hold
        return f"{type(error).__name__}: {error}"[:300]
