"""Probe one module: load, build, forward, backward, contract. Runs inside the sandbox, in a process of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from llmastool.canonical import Json
from llmastool.errors import RegistryError
from llmastool.mining.bundle import Bundle
from llmastool.registry import family
from llmastool.registry.arguments import Proposal
from llmastool.registry.bench import Bench
from llmastool.registry.call import example
from llmastool.registry.capture import calls, capture
from llmastool.registry.contract import Contract
from llmastool.registry.fingerprint import fingerprint
from llmastool.registry.infer import Inference, Point
from llmastool.registry.patience import TookTooLong
from llmastool.registry.record import Probe, Stage
from llmastool.registry.runner import Runner, backward
from llmastool.registry.seen import Seen, Sighting
from llmastool.registry.sightings import sightings
from llmastool.registry.values import Resolver

_MESSAGE_LIMIT = 300

_SEARCH_SHARE, _INFER_SHARE = 0.24, 0.3
"""Shares of a probe's time for finding a working point, and for varying around it, in CPU time. Nearly all modules need
a small part of them, so that what is found does not depend on how fast the machine is."""

_MOST_LAYOUTS = 4

At = Callable[[Stage, Mapping[str, Json] | None], None]
"""Is told a stage when it begins, and the arguments of what was built by then."""


class _Fell(Exception):  # noqa: N818 - control flow of the probe
    def __init__(self, stage: Stage, message: str, args: Mapping[str, Json] | None = None) -> None:
        super().__init__(message)
        self.stage, self.built = stage, args


def probe(
    module: str,
    resolver: Resolver,
    seen: Sequence[Sighting] = (),
    seconds: float = 30.0,
    at: At = lambda *_: None,
) -> tuple[Probe, Seen]:
    """Probe a module by its id. Never raises: what goes wrong is the result.

    Args:
        module: id of the module.
        resolver: the bundles that it may refer to.
        seen: constructor calls of it that were seen while other code ran.
        seconds: the time that it will be given; searching ends well before.
        at: told each stage when it begins, and the arguments of what was built by then.

    Returns:
        The result, and what was seen of other modules of its source while it ran.
    """
    bundle = resolver.bundles.get(module)
    reached: tuple[Stage, Mapping[str, Json] | None] = ("load", None)

    def noted(stage: Stage, args: Mapping[str, Json] | None) -> None:
        nonlocal reached
        reached = stage, args
        at(stage, args)

    try:
        return _probe(module, bundle, resolver, seen, seconds, noted)
    except _Fell as fell:
        return Probe(module=module, stage=fell.stage, message=str(fell), args=fell.built), {}
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything, and in places that do not look like it
        return Probe(module=module, stage=reached[0], message=explain(error), args=reached[1]), {}


def _probe(
    module: str,
    bundle: Bundle | None,
    resolver: Resolver,
    seen: Sequence[Sighting],
    seconds: float,
    at: At,
) -> tuple[Probe, Seen]:
    if bundle is not None and not bundle.has_forward:
        raise _Fell("forward", "the class has no forward")
    cls = _attempt("load", lambda: resolver.find(module))
    at("build", None)
    bench = _attempt(
        "build", lambda: Bench(cls, lambda value: resolver.decode(value, bundle), max(2.0, _SEARCH_SHARE * seconds))
    )
    named = functools.partial(_with_ids, resolver=resolver, home=bundle)
    proposal, points = _working(bench, bundle, seen, at, named)
    contracts, errors = [], ""
    built = named(points[0].args)
    looker = bench.looker(points[0])
    for point in points[:_MOST_LAYOUTS]:
        try:
            inference = Inference(point, looker, bench.real, _INFER_SHARE * seconds / len(points[:_MOST_LAYOUTS]))
            contracts.append(inference.contract())
        except Exception as error:  # noqa: BLE001 - foreign code may raise anything; the next layout is tried
            errors = errors or explain(error)
    if not contracts:
        raise _Fell("contract", errors, built)
    contracts.sort(key=lambda c: not c.plain)
    behaviour = family.observe(bench.real.build(contracts[0].args), contracts[0])
    result = Probe(
        module=module,
        stage="ok",
        origin=proposal.origin,
        family=family.family(contracts[0], behaviour),
        behaviour=behaviour.to_json(),
        fingerprint=_fingerprint(bench, contracts[0]),
        contracts=tuple(_named(c, resolver, bundle) for c in contracts),
    )
    try:
        return result, _seen_inside(looker, points[0], module) if bundle is not None else {}
    except Exception:  # noqa: BLE001 - foreign code may raise anything; what it holds was not seen then, and no more
        return result, {}


def _working(
    bench: Bench, bundle: Bundle | None, seen: Sequence[Sighting], at: At, named: Callable[[Json], Json]
) -> tuple[Proposal, list[Point]]:
    """Return the first arguments with which a module runs forward and backward, and points for its input layouts.

    Raises:
        _Fell: there are none; the stage is the furthest that any arguments came to.
    """
    fell = _Fell("build", "")
    for proposal in bench.built(bundle.calls if bundle is not None else (), seen):
        if fell.stage == "build":
            fell = _Fell("forward", "", named(proposal.args))
        at("forward", fell.built)
        points = bench.points(proposal, seen)
        if not points:
            if not str(fell) and bench.errors:
                fell = _Fell(fell.stage, explain(_telling(bench.errors)), fell.built)
            continue
        at("backward", named(proposal.args))
        kept: list[Point] = []
        for point in points:
            for tried in [bench.lighter(point), point] if not kept else [replace(point, args=kept[0].args)]:
                try:
                    x = example(tried.shape, tried.call.dtype)
                    backward(bench.real.build(tried.args), x, tried.call)
                except Exception as error:  # noqa: BLE001 - foreign code may raise anything; the next layout is tried
                    if fell.stage != "backward":
                        fell = _Fell("backward", explain(error), named(tried.args))
                    continue
                kept.append(tried)
                break
        if kept:
            at("contract", named(kept[0].args))
            return proposal, [bench.apart(point) for point in kept]
    if fell.stage == "build":
        unknown = f"no value is known for {bench.real.signature}"[:_MESSAGE_LIMIT]
        raise _Fell("build", explain(_telling(bench.errors)) if bench.errors else unknown)
    raise fell if str(fell) else _Fell(fell.stage, "the search for inputs that it takes ran out of time", fell.built)


def _telling(errors: Sequence[Exception]) -> Exception:
    """Return the error that says most: that a module never ended, else what came of the likeliest guess."""
    return next((e for e in errors if isinstance(e, TookTooLong)), errors[0])


def _attempt(stage: Stage, action: Callable[[], Any], args: Mapping[str, Json] | None = None) -> Any:
    try:
        return action()
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything; it becomes the probe's result
        raise _Fell(stage, explain(error), args) from None


def _fingerprint(bench: Bench, contract: Contract) -> Json:
    """Return the fingerprint of a module's function, empty where it cannot be taken."""
    try:
        return fingerprint(bench.real.build, contract)
    except Exception:  # noqa: BLE001 - foreign code may raise anything, on weights that it did not choose too
        return {}


def explain(error: BaseException) -> str:
    """Return an error as one short line."""
    kind = " ".join(type(error).__name__.split())
    line = " ".join(str(error)[: 10 * _MESSAGE_LIMIT].split()) or kind
    return f"{kind}: {line}"[:_MESSAGE_LIMIT]


def _with_ids(args: Json, resolver: Resolver, home: Bundle | None) -> Json:
    """Return arguments that name mined classes by their ids; as they are where a name leads nowhere."""
    try:
        return resolver.canonical(args, home)
    except RegistryError:
        return args


def _named(contract: Contract, resolver: Resolver, home: Bundle | None) -> Contract:
    """Return a contract whose arguments name mined classes by their ids."""
    free = {k: tuple(resolver.canonical(v, home) for v in values) for k, values in contract.free.items()}
    return replace(contract, args=resolver.canonical(dict(contract.args), home), free=free)


def _seen_inside(runner: Runner, point: Point, module: str) -> Seen:
    """Return how the module built and called others of its source at a working point."""
    with torch.device(runner.device), capture() as built, calls() as called, torch.no_grad():
        net = runner.build(point.args)
        args, kwargs = point.call.inputs(example(point.shape, point.call.dtype, runner.device))
        net(*args, **kwargs)
    built.pop(net, None)
    return sightings(built, called, module.partition("@")[0])
