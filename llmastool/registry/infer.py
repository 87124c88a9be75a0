"""Infer a contract: vary channels, size, batch and arguments around a point that works, and see what moves what."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import torch

from llmastool.canonical import Json
from llmastool.registry.contract import CHANNEL_AXIS, SIZE_AXES, Contract
from llmastool.registry.runner import Runner, count_flops, example, forward
from llmastool.trees.profile import Layout, Shape

_MAX_ARGS = 14
"""Most arguments of a constructor that are varied."""


class Inference:
    """One module at one working point."""

    def __init__(self, runner: Runner, layout: Layout, args: Mapping[str, Json], in_shape: Shape) -> None:
        out = runner.observe(args, in_shape)
        assert out is not None
        self.runner, self.layout, self.args = runner, layout, dict(args)
        self.in_shape, self.out_shape = in_shape, out
        self.layout_out: Layout = {2: "BC", 3: "BNC", 4: layout}.get(len(out), layout)  # type: ignore[assignment]
        self.axis_in, self.axis_out = CHANNEL_AXIS[layout], CHANNEL_AXIS[self.layout_out]
        self.channels = in_shape[self.axis_in]
        self.values = self._values()

    def _values(self) -> dict[str, Json]:
        """Return every argument that can be varied, with the value it has at the probe point."""
        found: dict[str, Json] = {}
        for name, parameter in itertools.islice(self.runner.signature.parameters.items(), _MAX_ARGS):
            value = self.args.get(name, parameter.default)
            if isinstance(value, bool | int | float) or (isinstance(value, Mapping) and "$tuple" in value):
                found[name] = value
        return found

    def try_args(self, changes: Mapping[str, Json], shape: Shape | None = None) -> Shape | None:
        """Return the output's shape with some arguments changed."""
        return self.runner.observe({**self.args, **changes}, shape or self.in_shape)

    def with_channels(self, channels: int) -> Shape:
        """Return the input shape with another number of channels."""
        return tuple(channels if i == self.axis_in else n for i, n in enumerate(self.in_shape))

    def with_size(self, factor: Fraction) -> Shape:
        """Return the input shape with all sizes multiplied."""
        axes = SIZE_AXES[self.layout]
        return tuple(int(n * factor) if i in axes else n for i, n in enumerate(self.in_shape))

    def contract(self) -> Contract:
        """Return the contract, costs and behaviour at the probe point included."""
        in_args, any_channels = self._in_args()
        out_args = self._out_args(in_args)
        stride = self._stride({*in_args, *out_args})
        size_args, any_size, size_ratio = self._sizes()
        taken = {*in_args, *out_args, *size_args, *([stride] if stride else [])}
        return Contract(
            layout_in=self.layout,
            layout_out=self.layout_out,
            args=self.args,
            in_shape=self.in_shape,
            out_shape=self.out_shape,
            in_args=in_args,
            any_channels=any_channels,
            divisor=self._divisor(in_args) if in_args or any_channels else 1,
            out_args=out_args,
            out_ratio=None if out_args else self._out_ratio(in_args, any_channels),
            size_ratio=size_ratio,
            any_size=any_size,
            size_args=size_args,
            stride_arg=stride,
            min_size=self._min_size(size_args) if any_size else min(self._sizes_of(self.in_shape), default=1),
            free=self._free(taken),
            **self._behaviour(),
        )

    def _scaled(self, names: tuple[str, ...], channels: int) -> dict[str, Json] | None:
        """Return the named arguments in their ratio to the input channels, for another number of channels."""
        changes: dict[str, Json] = {}
        for name in names:
            value = Fraction(self.values[name], self.channels) * channels
            if value.denominator != 1:
                return None
            changes[name] = int(value)
        return changes

    def _in_args(self) -> tuple[dict[str, str], bool]:
        wide = self.with_channels(2 * self.channels)
        if self.try_args({}, wide) is not None:
            same = tuple(n for n, v in self.values.items() if _is_count(v) and v == self.channels)
            follows = bool(same) and self.try_args(self._scaled(same, 2 * self.channels) or {}, wide) is not None
            return dict.fromkeys(same, "1") if follows else {}, True
        names = [n for n, v in self.values.items() if _is_count(v) and v > 1 and _related(v, self.channels)]
        for group in _groups(names):
            changes = self._scaled(group, 2 * self.channels)
            if changes is not None and self.try_args(changes, wide) is not None:
                return {n: str(Fraction(self.values[n], self.channels)) for n in group}, False
        return {}, False

    def _divisor(self, in_args: Mapping[str, str]) -> int:
        for step in (1, 2, 4, 8, 16):
            channels = self.channels + step
            changes = self._scaled(tuple(in_args), channels)
            if changes is not None and self.try_args(changes, self.with_channels(channels)) is not None:
                return step
        return self.channels

    def _out_args(self, in_args: Mapping[str, str]) -> dict[str, str]:
        given = self.out_shape[self.axis_out]
        names = [
            n for n, v in self.values.items() if _is_count(v) and v > 1 and _related(v, given) and n not in in_args
        ]
        for group in _groups(names, largest=2):
            changes = {n: 2 * self.values[n] for n in group}
            out = self.try_args(changes)
            if out is not None and out == _replaced(self.out_shape, self.axis_out, 2 * given):
                return {n: str(Fraction(self.values[n], given)) for n in group}
        return {}

    def _out_ratio(self, in_args: Mapping[str, str], any_channels: bool) -> str | None:
        given = self.out_shape[self.axis_out]
        if in_args or any_channels:
            changes = self._scaled(tuple(in_args), 2 * self.channels)
            out = self.try_args(changes or {}, self.with_channels(2 * self.channels))
            if out is not None and out[self.axis_out] == 2 * given:
                return str(Fraction(given, self.channels))
            return None
        return str(Fraction(given, self.channels)) if given == self.channels else None

    def _stride(self, taken: set[str]) -> str | None:
        sizes = self._out_sizes(self.out_shape)
        for name, value in self.values.items():
            if name in taken or not _is_count(value) or value != 1 or not sizes:
                continue
            out = self.try_args({name: 2})
            if out is not None and self._out_sizes(out) == [n // 2 for n in sizes]:
                return name
        return None

    def _sizes_of(self, shape: Shape) -> list[int]:
        return [shape[axis] for axis in SIZE_AXES[self.layout]]

    def _out_sizes(self, shape: Shape) -> list[int]:
        return [shape[axis] for axis in SIZE_AXES[self.layout_out]] if len(shape) == len(self.out_shape) else []

    def _sizes(self) -> tuple[tuple[str, ...], bool, str | None]:
        """Return the arguments bound to the size, whether other sizes are taken, and the ratio of out to in."""
        before, after = self._sizes_of(self.in_shape), self._out_sizes(self.out_shape)
        ratio = _one_ratio(after, before)
        if not before:
            return (), True, None if after else "1"
        for names in ((), *_groups([n for n, v in self.values.items() if _equals_size(v, before[0])])):
            changes = {n: _sized(self.values[n], 2 * before[0]) for n in names}
            out = self.try_args(changes, self.with_size(Fraction(2)))
            if out is None:
                continue
            if self._out_sizes(out) == [2 * n for n in after] and ratio is not None:
                return names, True, ratio
            if self._out_sizes(out) == after:
                return names, True, None
        return (), False, ratio

    def _min_size(self, size_args: tuple[str, ...]) -> int:
        size = self._sizes_of(self.in_shape)
        smallest = min(size, default=1)
        factor = Fraction(1, 2)
        while size and min(size) * factor >= 1:
            changed = {n: _sized(self.values[n], int(size[0] * factor)) for n in size_args}
            if self.try_args(changed, self.with_size(factor)) is None:
                break
            smallest = int(min(size) * factor)
            factor /= 2
        return smallest

    def _free(self, taken: set[str]) -> dict[str, tuple[Json, ...]]:
        found = {}
        for name, value in self.values.items():
            if name not in taken:
                works = [
                    v
                    for v in _variants(value)
                    if self.try_args({name: v}) == self.out_shape and not self._inert({name: v})
                ]
                if works:
                    found[name] = (value, *works)
        return found

    def _inert(self, changes: Mapping[str, Json]) -> bool:
        """Return whether a change of arguments leaves the function alone, as that of a flag `inplace` does."""
        first, second = self._outputs({}), self._outputs(changes)
        return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))

    def _outputs(self, changes: Mapping[str, Json]) -> list[torch.Tensor]:
        """Return the outputs in train and eval mode, and all parameters, from one seed."""
        net = self.runner.build({**self.args, **changes})
        x = example(self.in_shape)
        with torch.no_grad():
            trained = forward(net, x.clone())
            return [trained, forward(net.eval(), x.clone())]

    def _behaviour(self) -> dict[str, Any]:
        net = self.runner.build(self.args)
        x = example(self.in_shape)
        flops = count_flops(net, x)
        with torch.no_grad():
            trained = forward(net, x)
            net.eval()
            first, second = forward(net, x), forward(net, x)
        return {
            "parameters": sum(p.numel() for p in net.parameters()),
            "flops": flops,
            "batch_one": self._takes_one(),
            "deterministic": bool(torch.equal(first, second)),
            "train_eval_differ": not torch.allclose(trained, first, atol=1e-6),
        }

    def _takes_one(self) -> bool:
        net = self.runner.build(self.args)
        try:
            forward(net, example((1, *self.in_shape[1:])))
        except Exception:  # noqa: BLE001 - foreign code may raise anything; that it fails is the observation
            return False
        return True


def _is_count(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _related(value: int, channels: int) -> bool:
    return value % channels == 0 or channels % value == 0


def _groups(names: list[str], largest: int = 3) -> Iterator[tuple[str, ...]]:
    """Yield groups of names, small ones first, then all of them."""
    for size in range(1, min(largest, len(names)) + 1):
        yield from itertools.combinations(names[:6], size)
    if len(names) > largest:
        yield tuple(names)


def _replaced(shape: Shape, axis: int, value: int) -> Shape:
    return tuple(value if i == axis else n for i, n in enumerate(shape))


def _one_ratio(after: list[int], before: list[int]) -> str | None:
    if len(after) != len(before):
        return None
    ratios = {Fraction(a, b) for a, b in zip(after, before, strict=True)}
    return str(ratios.pop()) if len(ratios) == 1 else None


def _equals_size(value: Json, size: int) -> bool:
    return value == size if not isinstance(value, Mapping) else value == {"$tuple": [size, size]}


def _sized(value: Json, size: int) -> Json:
    return {"$tuple": [size, size]} if isinstance(value, Mapping) else size


def _variants(value: Json) -> tuple[Json, ...]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        odd = value % 2 and 1 < value < 16
        return tuple(v for v in ((value - 2, value + 2) if odd else (value // 2, 2 * value)) if v > 0)
    if isinstance(value, float):
        return (0.0,) if value else (0.1,)
    return ()
