"""Test a contract on claims of its own: what does not hold, it claims no longer."""

from __future__ import annotations

from dataclasses import replace

from llmastool.registry.claims import PARTS, Claim, at_probe, claims, complete
from llmastool.registry.contract import Contract, solve
from llmastool.registry.runner import Runner


def tested(contract: Contract, runner: Runner, count: int) -> Contract:
    """Return a contract cut down to what holds, with how often that held on fresh claims.

    Args:
        contract: the contract.
        runner: what runs the module.
        count: number of claims of one test.
    """
    for attempt in range(5):
        failed = [c for c in claims(contract, count, seed=attempt) if not _holds(contract, c, runner)]
        if not failed:
            break
        contract = _narrowed(contract, failed[0], runner)
    fresh = list(claims(contract, count, seed=99))
    return replace(contract, checked=len(fresh), held=sum(_holds(contract, c, runner) for c in fresh))


def _holds(contract: Contract, claim: Claim, runner: Runner) -> bool:
    args = solve(contract, claim.in_shape, claim.out_shape)
    if args is None:
        return False
    return runner.observe(args, claim.in_shape, contract.call) == claim.out_shape


def _narrowed(contract: Contract, failed: Claim, runner: Runner) -> Contract:
    """Return a contract without the first part of a claim that fails by itself, sizes if none does."""
    start = at_probe(contract)
    for part in PARTS:
        alone = complete(contract, replace(start, **{part: getattr(failed, part)}))
        if alone is not None and alone != start and not _holds(contract, alone, runner):
            return _without(contract, part)
    changed = [p for p in ("sizes", "channels", "out_channels") if getattr(failed, p) != getattr(start, p)]
    return _without(contract, changed[0] if changed else "stride")


def _without(contract: Contract, part: str) -> Contract:
    """Return a contract that no longer claims to take other values of one part."""
    if part == "batch":
        return replace(contract, any_batch=False)
    if part == "channels":
        return replace(contract, in_args={}, any_channels=False)
    if part == "sizes":
        return replace(contract, any_size=False)
    if part == "out_channels":
        return replace(contract, out_args={}, out_ratio=None)
    return replace(contract, stride_arg=None, max_stride=1)
