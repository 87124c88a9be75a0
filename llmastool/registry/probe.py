"""Probe one module: load, build, forward, backward, contract. Runs inside the sandbox, in a process of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import torch

from llmastool.canonical import Json
from llmastool.mining.bundle import Bundle
from llmastool.registry import family
from llmastool.registry.arguments import CHANNELS, SIZE, Proposal, proposals
from llmastool.registry.contract import Contract
from llmastool.registry.infer import Inference
from llmastool.registry.runner import Runner, backward, example, forward
from llmastool.registry.values import Resolver
from llmastool.trees.profile import Layout, Shape

Stage = Literal["load", "build", "forward", "backward", "contract", "ok"]
"""The stage at which a module fell, or `ok`."""

STAGES: tuple[Stage, ...] = get_args(Stage)

_BATCH = 2
_MAX_BUILDS = 12
_MESSAGE_LIMIT = 300


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What probing one module gave."""

    module: str
    """Id of the module."""
    stage: Stage
    message: str = ""
    """Why it fell, for a reader; empty when ok."""
    origin: str = ""
    """Where the arguments that worked came from."""
    family: str = "unknown"
    behaviour: Mapping[str, Json] = field(default_factory=dict)
    contracts: tuple[Contract, ...] = ()
    """One for each input layout that works, the most telling first."""
    seconds: float = 0.0

    def to_json(self) -> Json:
        """Return a JSON value that `from_json` reads back."""
        return asdict(self)

    @staticmethod
    def from_json(value: Json) -> Probe:
        """Read what `to_json` wrote."""
        return Probe(**{**value, "contracts": tuple(Contract.from_json(c) for c in value["contracts"])})


@dataclass(frozen=True)
class _Point:
    """A working point: arguments and an input with which forward ran."""

    proposal: Proposal
    layout: Layout
    shape: Shape


class _Fell(Exception):  # noqa: N818 - control flow of the probe
    def __init__(self, stage: Stage, message: str) -> None:
        super().__init__(message)
        self.stage = stage


def probe(module: str, resolver: Resolver, at: Callable[[Stage], None] = lambda _: None) -> Probe:
    """Probe a module by its id. Never raises: what goes wrong is the result.

    Args:
        module: id of the module.
        resolver: the bundles that it may refer to.
        at: told each stage when it begins.
    """
    bundle = resolver.bundles.get(module)
    try:
        return _probe(module, bundle, resolver, at)
    except _Fell as fell:
        return Probe(module=module, stage=fell.stage, message=str(fell))


def _probe(module: str, bundle: Bundle | None, resolver: Resolver, at: Callable[[Stage], None]) -> Probe:
    if bundle is not None and not bundle.has_forward:
        raise _Fell("forward", "the class has no forward")
    cls = _attempt("load", lambda: resolver.find(module))
    at("build")
    runner = Runner(cls, lambda value: resolver.decode(value, bundle, lambda tree: resolver.find(tree["module"])()))
    signature = _attempt("build", lambda: runner.signature)
    calls = bundle.calls if bundle is not None else ()
    built = _build(runner, list(proposals(signature, calls, resolver.name))[: 3 * _MAX_BUILDS])
    at("forward")
    points = _forward(runner, built)
    at("backward")
    points = _backward(runner, points)
    at("contract")
    points = _independent(runner, points)
    contracts = _attempt("contract", lambda: _contracts(runner, points))
    net = runner.build(contracts[0].args)
    seen = _attempt("contract", lambda: family.observe(net, contracts[0]))
    return Probe(
        module=module,
        stage="ok",
        origin=points[0].proposal.origin,
        family=family.family(contracts[0], seen),
        behaviour=seen.to_json(),
        contracts=tuple(contracts),
    )


def _attempt(stage: Stage, action: Any) -> Any:
    try:
        return action()
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything; it becomes the probe's result
        raise _Fell(stage, explain(error)) from None


def explain(error: BaseException) -> str:
    """Return an error as one short line."""
    line = " ".join(str(error).split()) or type(error).__name__
    return f"{type(error).__name__}: {line}"[:_MESSAGE_LIMIT]


def _build(runner: Runner, tries: Sequence[Proposal]) -> list[Proposal]:
    if not tries:
        raise _Fell("build", f"no value is known for the arguments {runner.signature}"[:_MESSAGE_LIMIT])
    built, first = [], ""
    for proposal in tries:
        try:
            runner.build(proposal.args)
        except Exception as error:  # noqa: BLE001 - foreign code may raise anything; the next proposal is tried
            first = first or explain(error)
            continue
        built.append(proposal)
        if len(built) == _MAX_BUILDS:
            break
    if not built:
        raise _Fell("build", first)
    return built


def _inputs(args: Mapping[str, Json], heard: Sequence[int]) -> Iterator[tuple[Layout, Shape]]:
    """Yield inputs to try: maps, tokens, images, vectors; channels as the arguments or an error message suggest."""
    named = [v for v in args.values() if isinstance(v, int) and not isinstance(v, bool) and 1 < v <= 2048]
    channels = list(dict.fromkeys([*named[:2], CHANNELS, *heard, 3]))
    for c in channels:
        yield "NCHW", (_BATCH, c, SIZE, SIZE)
    for c in channels:
        yield "BNC", (_BATCH, SIZE, c)
    for size in (64, 224):
        yield "NCHW", (_BATCH, 3, size, size)
    for c in channels:
        yield "BC", (_BATCH, c)
        yield "NHWC", (_BATCH, SIZE, SIZE, c)


def _forward(runner: Runner, built: Sequence[Proposal]) -> list[_Point]:
    """Return one working point for each input layout, all with the arguments that worked first."""
    first = ""
    for proposal in built:
        points: dict[Layout, _Point] = {}
        heard: list[int] = []
        net = runner.build(proposal.args)
        for attempt in range(2):
            for layout, shape in _inputs(proposal.args, heard if attempt else ()):
                if layout in points:
                    continue
                try:
                    forward(net, example(shape))
                except Exception as error:  # noqa: BLE001 - foreign code may raise anything; the next input is tried
                    first = first or explain(error)
                    heard += [int(n) for n in re.findall(r"\b\d+\b", str(error)[:500]) if 1 < int(n) <= 2048]
                    continue
                points[layout] = _Point(proposal, layout, shape)
            if points:
                return _tidy(runner, list(points.values()))
            heard = list(dict.fromkeys(heard))[:4]
    raise _Fell("forward", first)


def _tidy(runner: Runner, points: list[_Point]) -> list[_Point]:
    """Prefer arguments that divide a map's size evenly, where one small change (of a padding, say) brings that."""
    head = points[0]
    if head.layout != "NCHW" or _divides(runner.observe(head.proposal.args, head.shape), head.shape):
        return points
    for name, parameter in runner.signature.parameters.items():
        value = head.proposal.args.get(name, parameter.default)
        if not isinstance(value, int) or isinstance(value, bool) or value > 7:
            continue
        for changed in (value + 1, value - 1):
            args = {**head.proposal.args, name: changed}
            if _divides(runner.observe(args, head.shape), head.shape):
                return [_Point(Proposal(args, head.proposal.origin), p.layout, p.shape) for p in points]
    return points


def _divides(out: Shape | None, shape: Shape) -> bool:
    if out is None or len(out) != 4:
        return out is not None
    return all(s % o == 0 or o % s == 0 for s, o in zip(shape[2:], out[2:], strict=True))


def _backward(runner: Runner, points: Sequence[_Point]) -> list[_Point]:
    kept, first = [], ""
    for point in points:
        try:
            backward(runner.build(point.proposal.args), example(point.shape))
        except Exception as error:  # noqa: BLE001 - foreign code may raise anything; the next layout is tried
            first = first or explain(error)
            continue
        kept.append(point)
    if not kept:
        raise _Fell("backward", first)
    return kept


def _independent(runner: Runner, points: Sequence[_Point]) -> list[_Point]:
    """Keep the points at which an output depends on its own input only, a flag such as `batch_first` set if need be."""
    flags = [n for n, p in runner.signature.parameters.items() if isinstance(p.default, bool)]
    kept = []
    for point in points:
        for changes in ({}, *({f: not runner.signature.parameters[f].default} for f in flags)):
            args = {**point.proposal.args, **changes}
            if _keeps_samples_apart(runner, args, point.shape):
                kept.append(_Point(Proposal(args, point.proposal.origin), point.layout, point.shape))
                break
    if not kept:
        raise _Fell("contract", "an output depends on other samples of its batch")
    return kept


def _keeps_samples_apart(runner: Runner, args: Mapping[str, Json], shape: Shape) -> bool:
    x = example(shape)
    changed = torch.cat([x[:1], example(shape, seed=1)[1:]])
    try:
        net = runner.build(args).eval()
        with torch.no_grad():
            return torch.allclose(forward(net, x)[0], forward(net, changed)[0], atol=1e-5)
    except Exception:  # noqa: BLE001 - foreign code may raise anything; these arguments do not do
        return False


def _contracts(runner: Runner, points: Sequence[_Point]) -> list[Contract]:
    found = []
    for point in points:
        inference = Inference(_varying(runner, point), point.layout, point.proposal.args, point.shape)
        found.append(inference.contract())
    return found


def _varying(runner: Runner, point: _Point) -> Runner:
    """Return a runner on the meta device, where varying costs nothing, if it sees there what it sees on the CPU."""
    fast = Runner(runner.cls, runner.decode)
    fast.device = "meta"
    same = fast.observe(point.proposal.args, point.shape) == runner.observe(point.proposal.args, point.shape)
    return fast if same else runner
