"""Infer a contract: vary channels, size, batch and arguments around a point that works, and see what moves what."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import torch

from llmastool.canonical import Json
from llmastool.modes import evaluating
from llmastool.registry.arguments import counts_channels
from llmastool.registry.call import Call, example
from llmastool.registry.contract import CHANNEL_AXIS, SIZE_AXES, Contract, enlarged
from llmastool.registry.runner import Runner, forward
from llmastool.registry.sizes import STEPS, Sizes, groups, output_sizes
from llmastool.registry.tested import tested
from llmastool.registry.traits import traits
from llmastool.trees.profile import Layout, Shape

_MAX_ARGS = 14
"""Most arguments of a constructor that are varied."""

_OTHER_WAY: Mapping[Layout, Layout] = {"NCHW": "NHWC", "NHWC": "NCHW", "BNC": "NCL", "NCL": "BNC"}
"""Layouts with the same number of axes, channels on the other side."""

_CHECKS, _CHECKS_OF_DEEP = 6, 2
"""Number of claims on which a contract is tested, and that of a deep network."""

_DEEP = 150
"""Modules within one from which on a network is deep: it takes long to look at."""


@dataclass(frozen=True)
class Point:
    """A working point: arguments and an input with which forward and backward ran."""

    args: Mapping[str, Json]
    layout: Layout
    shape: Shape
    call: Call
    per_sample: bool = False
    """Whether samples were seen not to mix there, in eval mode."""


class Inference:
    """One module at one working point."""

    def __init__(self, point: Point, fast: Runner, real: Runner, seconds: float) -> None:
        """Take the point, and what runs the module.

        Args:
            point: where it works.
            fast: for looking at shapes, on the meta device where the module allows that.
            real: on a real device.
            seconds: CPU time after which what is left is taken not to vary.
        """
        out = fast.observe(point.args, point.shape, point.call)
        assert out is not None
        self.deep = fast.size(point.args) > _DEEP
        self.checks = _CHECKS_OF_DEEP if self.deep else _CHECKS
        self.point, self.fast, self.real = point, fast, real
        self.args, self.in_shape, self.out_shape = dict(point.args), point.shape, out
        self.layout: Layout = point.layout
        self.layout_out = self._layout_out()
        self.axis_in, self.axis_out = CHANNEL_AXIS[point.layout], CHANNEL_AXIS.get(self.layout_out)
        self.channels = point.shape[self.axis_in]
        self._end = time.process_time() + seconds
        self.values = self._values()

    def _layout_out(self) -> Layout:
        """Return the layout of the output: where larger inputs make its second axis larger, channels come last."""
        layout = layout_after(self.layout, self.in_shape, self.out_shape)
        if not SIZE_AXES[self.layout] or layout not in _OTHER_WAY:
            return layout
        out = self.fast.observe(self.point.args, enlarged(self.in_shape, self.layout), self.point.call)
        if out is None or len(out) != len(self.out_shape):
            return layout
        grown = [i for i, (a, b) in enumerate(zip(self.out_shape, out, strict=True)) if a != b]
        other = _OTHER_WAY[layout]
        return other if CHANNEL_AXIS[layout] in grown and CHANNEL_AXIS[other] not in grown else layout

    @property
    def late(self) -> bool:
        """Whether the time for varying is over."""
        return time.process_time() > self._end

    def _values(self) -> dict[str, Json]:
        """Return every argument that can be varied, with the value it has at the probe point."""
        found: dict[str, Json] = {}
        for name, parameter in itertools.islice(self.real.signature.parameters.items(), _MAX_ARGS):
            value = self.args.get(name, parameter.default)
            if isinstance(value, tuple) and value and all(_is_count(v) for v in value):
                value = {"$tuple": list(value)}
            if isinstance(value, bool | int | float) or (isinstance(value, Mapping) and "$tuple" in value):
                found[name] = value
        return found

    def try_args(self, changes: Mapping[str, Json], shape: Shape | None = None) -> Shape | None:
        """Return the output's shape with some arguments changed; None where it is not taken, or time is over."""
        if self.late:
            return None
        return self.fast.observe({**self.args, **changes}, shape or self.in_shape, self.point.call)

    def with_channels(self, channels: int) -> Shape:
        """Return the input shape with another number of channels."""
        return _replaced(self.in_shape, self.axis_in, channels)

    def contract(self) -> Contract:
        """Return the contract, tested on claims of its own, costs and behaviour at the probe point included."""
        in_args, any_channels = self._in_args()
        out_args = self._out_args(in_args)
        observed = Sizes(self.try_args, self.values, (self.layout, self.layout_out), (self.in_shape, self.out_shape))
        sizes = observed.rule()
        stride, max_stride = self._stride({*in_args, *out_args, *sizes["size_args"]})
        found = Contract(
            layout_in=self.layout,
            layout_out=self.layout_out,
            args={**self.args, **{n: self.values[n] for n in sizes["size_args"]}},
            in_shape=self.in_shape,
            out_shape=self.out_shape,
            call=self.point.call,
            in_args=in_args,
            any_channels=any_channels,
            divisor=self._divisor(in_args) if in_args or any_channels else 1,
            min_channels=self._min_channels(in_args) if in_args or any_channels else 1,
            out_args=out_args,
            out_divisor=self._out_divisor(out_args) if out_args else 1,
            out_ratio=None if out_args else self._out_ratio(in_args, any_channels),
            stride_arg=stride,
            max_stride=max_stride,
            any_batch=self._any_batch(),
            per_sample=self.point.per_sample,
            **sizes,
            **traits(self.real, self.fast, self.args, self.in_shape, self.out_shape, self.point.call),
        )
        checked = tested(found, self.fast, self.checks)
        taken = {*checked.in_args, *checked.out_args, *checked.size_args, *([stride] if stride else [])}
        return replace(checked, free=self._free(taken))

    def _scaled(self, names: tuple[str, ...], channels: int) -> dict[str, Json] | None:
        """Return the named arguments in their ratio to the input channels, for another number of channels."""
        changes: dict[str, Json] = {}
        for name in names:
            value = Fraction(self.values[name], self.channels) * channels
            if value.denominator != 1 or value < 1:
                return None
            changes[name] = int(value)
        return changes

    def _in_args(self) -> tuple[dict[str, str], bool]:
        wide = self.with_channels(2 * self.channels)
        if self._takes(wide):
            same = tuple(
                n for n, v in self.values.items() if _is_count(v) and v == self.channels and counts_channels(n)
            )
            follows = bool(same) and self.try_args(self._scaled(same, 2 * self.channels) or {}, wide) is not None
            return dict.fromkeys(same, "1") if follows else {}, True
        names = [n for n, v in self.values.items() if _is_count(v) and v > 1 and _related(v, self.channels)]
        for group in groups(names):
            changes = self._scaled(group, 2 * self.channels)
            if changes is not None and self.try_args(changes, wide) is not None:
                return {n: str(Fraction(self.values[n], self.channels)) for n in group}, False
        return {}, False

    def _takes(self, shape: Shape) -> bool:
        """Return whether another input is taken. Meta takes channels for which there are no weights now and then."""
        if self.try_args({}, shape) is None:
            return False
        return self.fast is self.real or self.real.observe(self.args, shape, self.point.call) is not None

    def _takes_channels(self, in_args: Mapping[str, str], channels: int) -> bool:
        changes = self._scaled(tuple(in_args), channels)
        return changes is not None and self.try_args(changes, self.with_channels(channels)) is not None

    def _divisor(self, in_args: Mapping[str, str]) -> int:
        # Two steps each: a module may take the next number by chance of rounding.
        steps = (s for s in STEPS if all(self._takes_channels(in_args, self.channels + k * s) for k in (1, 3)))
        return next(steps, self.channels)

    def _min_channels(self, in_args: Mapping[str, str]) -> int:
        smallest = self.channels
        while smallest % 2 == 0 and self._takes_channels(in_args, smallest // 2):
            smallest //= 2
        return smallest

    def _out_args(self, in_args: Mapping[str, str]) -> dict[str, str]:
        if self.axis_out is None:
            return {}
        given = self.out_shape[self.axis_out]
        names = [
            n for n, v in self.values.items() if _is_count(v) and v > 1 and _related(v, given) and n not in in_args
        ]
        for group in groups(names, largest=2):
            if self._gives_channels({n: str(Fraction(self.values[n], given)) for n in group}, 2 * given):
                return {n: str(Fraction(self.values[n], given)) for n in group}
        return {}

    def _gives_channels(self, out_args: Mapping[str, str], channels: int) -> bool:
        assert self.axis_out is not None
        changes = {n: Fraction(r) * channels for n, r in out_args.items()}
        if any(c.denominator != 1 for c in changes.values()):
            return False
        out = self.try_args({n: int(c) for n, c in changes.items()})
        return out is not None and out == _replaced(self.out_shape, self.axis_out, channels)

    def _out_divisor(self, out_args: Mapping[str, str]) -> int:
        assert self.axis_out is not None
        given = self.out_shape[self.axis_out]
        return next((s for s in STEPS if all(self._gives_channels(out_args, given + k * s) for k in (1, 3))), given)

    def _out_ratio(self, in_args: Mapping[str, str], any_channels: bool) -> str | None:
        if self.axis_out is None:
            return None
        given = self.out_shape[self.axis_out]
        if in_args or any_channels:
            changes = self._scaled(tuple(in_args), 2 * self.channels)
            out = self.try_args(changes or {}, self.with_channels(2 * self.channels))
            if out is not None and len(out) == len(self.out_shape) and out[self.axis_out] == 2 * given:
                return str(Fraction(given, self.channels))
        return None

    def _stride(self, taken: set[str]) -> tuple[str | None, int]:
        sizes = output_sizes(self.out_shape, self.out_shape, self.layout_out)
        for name, value in self.values.items():
            if name in taken or not _is_count(value) or value != 1 or not sizes:
                continue
            works = [s for s in (2, 4) if self._sizes_with({name: s}) == [n / s for n in sizes]]
            if works:
                return name, max(works)
        return None, 1

    def _sizes_with(self, changes: Mapping[str, Json]) -> list[int]:
        return output_sizes(self.try_args(changes) or (), self.out_shape, self.layout_out)

    def _any_batch(self) -> bool:
        first = self.out_shape[0] if self.out_shape else 0
        for batch in (3, 4):
            out = self.try_args({}, (batch, *self.in_shape[1:]))
            if out is None or out[1:] != self.out_shape[1:] or len(out) != len(self.out_shape):
                return False
            if out and out[0] * self.in_shape[0] != first * batch:
                return False
        return True

    def _free(self, taken: set[str]) -> dict[str, tuple[Json, ...]]:
        found: dict[str, tuple[Json, ...]] = {}
        if not self.point.call.args or self.deep:
            return found  # every value of every argument is a network to be built anew, twice
        for name, value in self.values.items():
            if name not in taken and not self.late:
                works = [
                    v
                    for v in _variants(value)
                    if self.try_args({name: v}) == self.out_shape and self._matters({name: v})
                ]
                if works:
                    found[name] = (value, *works)
        return found

    def _matters(self, changes: Mapping[str, Json]) -> bool:
        """Return whether a change of arguments makes another function, and one that can be trained.

        A flag such as `inplace` does not, nor does a temperature of zero. What can be trained on an input of zeros, as
        it comes from a layer that is off, must go on to be: a normalisation whose `eps` is 0 could not.
        """
        try:
            first, second = self._unchanged, self._outputs(changes)
            if all(torch.equal(a, b) for a, b in zip(first, second, strict=True)):
                return False
            if self._takes_zeros:
                self._outputs(changes, zeros=True)
        except Exception:  # noqa: BLE001 - foreign code may raise anything; what fails is of no use
            return False
        return True

    @functools.cached_property
    def _unchanged(self) -> list[torch.Tensor]:
        """The outputs at the probe point, with which those of all changed arguments are compared."""
        return self._outputs({})

    @functools.cached_property
    def _takes_zeros(self) -> bool:
        """Whether the module can be trained on an input of zeros."""
        try:
            self._outputs({}, zeros=True)
        except Exception:  # noqa: BLE001 - foreign code may raise anything
            return False
        return True

    def _outputs(self, changes: Mapping[str, Json], *, zeros: bool = False) -> list[torch.Tensor]:
        """Return the outputs in train and eval mode from one seed, for a random input or for zeros.

        Raises:
            ValueError: one of them, or a gradient, is not finite.
        """
        net = self.real.build({**self.args, **changes})
        x, call = example(self.in_shape, self.point.call.dtype), self.point.call
        x = torch.zeros_like(x) if zeros else x
        x.requires_grad_(x.is_floating_point())
        trained = forward(net, x.clone(), call)
        if trained.requires_grad:
            trained.sum().backward()
        with torch.no_grad():
            outputs = [trained.detach(), forward(evaluating(net), x.clone(), call)]
        gradients = [p.grad for p in (x, *net.parameters()) if p.grad is not None]
        if not all(t.isfinite().all() for t in (*outputs, *gradients)):
            raise ValueError("an output or a gradient is not finite")
        return outputs


def layout_after(layout: Layout, shape: Shape, out: Shape) -> Layout:
    """Return the layout of an output, judged by its number of dimensions and the layout of the input."""
    if len(out) < 2 or out[0] != shape[0]:
        return "other"
    if len(out) == len(shape):
        return layout
    by_rank: dict[int, Layout] = {2: "BC", 3: "BNC", 4: "NCHW", 5: "NCDHW"}
    return by_rank.get(len(out), "other")


def _is_count(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _related(value: int, channels: int) -> bool:
    return value % channels == 0 or channels % value == 0


def _replaced(shape: Shape, axis: int, value: int) -> Shape:
    return tuple(value if i == axis else n for i, n in enumerate(shape))


def _variants(value: Json) -> tuple[Json, ...]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        odd = value % 2 and 1 < value < 16
        return tuple(v for v in ((value - 2, value + 2) if odd else (value // 2, 2 * value)) if v > 0)
    if isinstance(value, float):
        return (0.0,) if value else (0.1,)
    return ()
