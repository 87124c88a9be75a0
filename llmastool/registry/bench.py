"""Find where a module works: arguments with which it can be built, and inputs that it takes.

Looking is done on the meta device, where nothing is computed, as long as the module allows that.
"""

from __future__ import annotations

import inspect
import math
import re
import time
import typing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from llmastool.canonical import Json, dumps
from llmastool.meta import shapes_only
from llmastool.mining.bundle import CallSite
from llmastool.registry.arguments import Proposal, proposals
from llmastool.registry.call import PLAIN, Call, example
from llmastool.registry.infer import Point
from llmastool.registry.inputs import Input, guesses, related, shapes, size_words
from llmastool.registry.lighter import HEAVY_PARAMETERS, Cost, lighter, plain
from llmastool.registry.patience import TookTooLong, patience
from llmastool.registry.repair import lengths, repairs
from llmastool.registry.runner import PATIENCE, Runner, count_flops, find_output, parameters
from llmastool.registry.seen import Sighting
from llmastool.registry.traits import keeps_samples_apart
from llmastool.trees.profile import Layout, Shape

_MAX_BUILT = 6
"""Most proposals, of those that can be built, whose inputs are searched."""

_LEAST_WIDTH = 8
"""Smallest default of a constructor's argument that may be a number of channels."""

_MAX_TRIES = 160
"""Most constructor calls in the search for arguments."""

_SMALL_PARAMETERS, _SMALL_FLOPS = 1_000_000, 50_000_000
"""Parameters, and multiply-adds of one input, up to which a module is built and run on the CPU as fast as on meta."""


class Bench:
    """One class, and the search for points at which it works."""

    def __init__(self, cls: type[nn.Module], decode: Callable[[Json], Any], seconds: float) -> None:
        self.real = Runner(cls, decode)
        self.fast = Runner(cls, decode, device="meta")
        self.end = time.process_time() + seconds
        self.errors: list[Exception] = []
        """What was raised, by the last search."""
        self._failed: deque[tuple[Proposal, Exception, int]] = deque()
        self.hints = _hints(cls)
        self.source = _source(cls)
        self.takes = _signature_of_forward(cls)

    @property
    def late(self) -> bool:
        """Whether the time for searching is over."""
        return time.process_time() > self.end

    def build(self, args: Mapping[str, Json]) -> nn.Module:
        """Build on the meta device, or on the CPU where the constructor does not work there.

        Raises:
            Exception: what the constructor raises on the CPU.
        """
        try:
            return self.fast.build(args)
        except Exception as error:
            if self.fast.device != "meta" or isinstance(error, TookTooLong):
                raise
        built = self.real.build(args)
        self.fast = Runner(self.real.cls, self.real.decode)
        return built

    def built(self, calls: Sequence[CallSite], sightings: Sequence[Sighting]) -> Iterator[Proposal]:
        """Yield proposals that can be built: as they are, then mended by what the constructor says of them."""
        signature, count = self.real.signature, 0
        self.errors, self._failed = [], deque()
        for proposal in proposals(signature, calls, sightings, self.hints):
            try:
                self.build(proposal.args)
            except Exception as error:  # noqa: BLE001 - foreign code may raise anything; the next proposal is tried
                self.errors.append(error)
                if not count:
                    self._failed.append((proposal, error, 0))
                if self.late:
                    break
                continue
            if not count:
                self._failed.clear()
            count += 1
            yield proposal
            if count >= _MAX_BUILT or self.late:
                break
        yield from self._mended(signature)

    def _mended(self, signature: inspect.Signature) -> Iterator[Proposal]:
        """Change refused arguments, one at a time, breadth first; a new error is worth following further."""
        failed = self._failed
        seen, tries, found = {dumps(p.args) for p, _, _ in failed}, 0, 0
        messages: set[str] = set()
        while failed and tries < _MAX_TRIES and not self.late:
            proposal, error, depth = failed.popleft()
            for args in (*repairs(proposal.args, error, signature, self.source), *stretched(proposal.args)):
                key = dumps(args)
                if key in seen:
                    continue
                seen.add(key)
                tries += 1
                if tries > _MAX_TRIES or self.late:
                    return
                try:
                    self.build(args)
                except Exception as other:  # noqa: BLE001 - foreign code may raise anything; its message leads on
                    new = f"{type(other).__name__}{other}"[:200]
                    if depth < 4 and new not in messages and new != f"{type(error).__name__}{error}"[:200]:
                        messages.add(new)
                        failed.appendleft((Proposal(args, "solved"), other, depth + 1))
                        break
                    continue
                found += 1
                yield Proposal(args, "solved")
                if found >= 2 * _MAX_BUILT:
                    return

    def points(self, proposal: Proposal, sightings: Sequence[Sighting]) -> list[Point]:
        """Return a working point for each input layout that is taken; several inputs only where one is not enough."""
        found = self._points(proposal, sightings)
        if not found and self.fast.device == "meta" and not self.late:
            self.fast = Runner(self.real.cls, self.real.decode)  # it may need real numbers to run
            try:
                found = self._points(proposal, sightings)
            except Exception as error:  # noqa: BLE001 - foreign code may raise anything: what meta could build, too
                self.errors.append(error)
        if not found and self.errors and proposal.origin != "solved":
            self._failed.append((proposal, self.errors[0], 0))
        return found

    def _points(self, proposal: Proposal, sightings: Sequence[Sighting]) -> list[Point]:
        self.errors = []
        net = self.build(proposal.args)
        found: dict[Layout, Point] = {}
        heard: list[int] = []
        for attempt in range(2):
            for given in self._inputs(proposal, sightings, heard if attempt else ()):
                if (given.layout in found) or (found and given.call != PLAIN) or self.late:
                    continue
                point = self._try(net, proposal, given, heard)
                if point is None or point.layout in found or (found and point.call != PLAIN):
                    continue
                found[point.layout] = point
                if point.call != PLAIN:
                    return [point]
            if found:
                return self._tidy(list(found.values()))
            heard = list(dict.fromkeys(heard))[:4]
        return []

    def _tidy(self, points: list[Point]) -> list[Point]:
        """Prefer arguments that divide a map's size evenly, where one small change (of a padding, say) brings that."""
        head = points[0]
        if head.layout != "NCHW" or _divides(self.fast.observe(head.args, head.shape), head.shape):
            return points
        for name, parameter in self.real.signature.parameters.items():
            value = head.args.get(name, parameter.default)
            if not isinstance(value, int) or isinstance(value, bool) or value > 7:
                continue
            for changed in (value + 1, value - 1):
                args = {**head.args, name: changed}
                if _divides(self.fast.observe(args, head.shape), head.shape):
                    return [replace(p, args=args) for p in points]
        return points

    def _inputs(self, proposal: Proposal, sightings: Sequence[Sighting], heard: Sequence[int]) -> Iterator[Input]:
        own = [s for s in sightings if s.args == proposal.args] or list(sightings)
        for sighting in own[:3]:
            for call in sighting.calls:
                yield from related(call)
        defaults = self._defaults()
        widths = [*heard, *(v for v in defaults.values() if isinstance(v, int) and v >= _LEAST_WIDTH)][:6]
        for layout, shape in shapes(proposal.args, widths, size_words({**defaults, **proposal.args})):
            yield from guesses(self.takes, layout, shape)

    def _try(self, net: nn.Module, proposal: Proposal, given: Input, heard: list[int]) -> Point | None:
        x = example(given.shape, given.call.dtype, self.fast.device)
        try:
            args, kwargs = given.call.inputs(x)
            with torch.no_grad(), torch.device(x.device), patience(PATIENCE), shapes_only(x.device):
                picks = find_output(net(*args, **kwargs), given.shape)
        except Exception as error:  # noqa: BLE001 - foreign code may raise anything; the next input is tried
            if self.errors:  # only of the first is more looked at than its words: a trace keeps inputs and networks
                BaseException.with_traceback(error, None)
                error.__context__ = error.__cause__ = None
            self.errors.append(error)
            heard += [int(n) for n in re.findall(r"\b\d{1,5}\b", str(error)[:500]) if 1 < int(n) <= 4096]
            return None
        call = Call(args=given.call.args, kwargs=given.call.kwargs, picks=picks)
        if self._is_misread(proposal.args, given, call):
            return None
        layout = given.layout or self._layout(proposal.args, given.shape, call)
        return Point(proposal.args, layout, given.shape, call)

    def _layout(self, args: Mapping[str, Json], shape: Shape, call: Call) -> Layout:
        """Return the layout of an input that was seen: the axis that cannot vary freely holds the channels."""

        def fixed(axis: int) -> bool:
            return self._is_fixed(args, shape, call, axis)

        if len(shape) == 4:
            if fixed(1) == fixed(3):
                return "NHWC" if shape[1] == shape[2] != shape[3] else "NCHW"
            return "NCHW" if fixed(1) else "NHWC"
        if len(shape) == 3:
            return "NCL" if fixed(1) and not fixed(2) else "BNC"
        return "NCDHW" if len(shape) == 5 else "BC"

    def _is_misread(self, args: Mapping[str, Json], given: Input, call: Call) -> bool:
        """Return whether what is taken for a size of a map is the number of channels: as the one axis that is fixed."""
        axis = {"NCHW": 3, "NHWC": 1}.get(given.layout or "")
        if axis is None or given.shape[axis] not in {**self._defaults(), **args}.values():
            return False
        return [i for i in (1, 2, 3) if self._is_fixed(args, given.shape, call, i)] == [axis]

    def _is_fixed(self, args: Mapping[str, Json], shape: Shape, call: Call, axis: int) -> bool:
        wider = tuple(2 * n if i == axis else n for i, n in enumerate(shape))
        return self.fast.observe(args, wider, call) is None

    def apart(self, point: Point) -> Point:
        """Return a point at which samples do not mix, a flag such as `batch_first` turned if that is what it takes."""
        flags = [n for n, p in self.real.signature.parameters.items() if isinstance(p.default, bool)]
        for changes in ({}, *({f: not self.real.signature.parameters[f].default} for f in flags[:8])):
            args = {**point.args, **changes}
            if self.fast.observe(args, point.shape, point.call) is None:
                continue
            if keeps_samples_apart(self.real.build(args), point.shape, point.call):
                return replace(point, args=args, per_sample=True)
        return point

    def lighter(self, point: Point) -> Point:
        """Return a point at which a heavy network costs less: smaller images, fewer and narrower layers."""
        return lighter(point, self._cost, self._defaults())

    def _defaults(self) -> dict[str, Json]:
        return {p.name: plain(p.default) for p in self.real.signature.parameters.values()}

    def looker(self, point: Point) -> Runner:
        """Return the runner that looks at a point: a real device for what is small, as meta does not check everything.

        What it costs is counted, not timed, so that the same module is always looked at in the same way.
        """
        parameters, flops, _ = self._cost(point) or (0, 0, 0)
        return self.real if parameters <= _SMALL_PARAMETERS and flops <= _SMALL_FLOPS else self.fast

    def _cost(self, point: Point) -> Cost | None:
        """Return parameters, multiply-adds and numbers of the output at a point, None where it does not work."""
        try:
            net = self.build(point.args)
            x = example(point.shape, point.call.dtype, self.fast.device)
            if self.fast.device != "meta" and parameters(net) < HEAVY_PARAMETERS:
                return parameters(net), 0, math.prod(self.fast.observe(point.args, point.shape, point.call) or ())
            flops, out = count_flops(net, x, point.call)
            return parameters(net), flops, out.numel()
        except Exception:  # noqa: BLE001 - foreign code may raise anything; then this is no point
            return None


def _divides(out: Shape | None, shape: Shape) -> bool:
    if out is None or len(out) != 4:
        return out is not None
    return all(s % o == 0 or o % s == 0 for s, o in zip(shape[2:], out[2:], strict=True))


def _hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(getattr(cls, "__init__"))  # noqa: B009 - of the class itself
    except Exception:  # noqa: BLE001 - annotations are foreign code too, and a hint less is all that is lost
        return {}


def _source(cls: type) -> str:
    found = []
    for part in cls.__mro__:
        if part.__module__.startswith("torch."):
            break
        try:
            found.append(inspect.getsource(part))
        except (OSError, TypeError):
            continue
    return "\n".join(found)


def _signature_of_forward(cls: type[nn.Module]) -> inspect.Signature:
    try:
        parameters = list(inspect.signature(cls.forward).parameters.values())[1:]
    except (TypeError, ValueError):
        parameters = [inspect.Parameter("x", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    return inspect.Signature(parameters)


def stretched(args: Mapping[str, Json]) -> Iterable[dict[str, Json]]:
    """Yield arguments with a list cut or stretched to another length."""
    for name, value in args.items():
        if isinstance(value, list):
            for other in lengths(value):
                yield {**args, name: other}
