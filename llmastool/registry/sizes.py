"""How the size of an output follows that of the input, and which arguments follow the size."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

from llmastool.canonical import Json
from llmastool.registry.contract import SIZE_AXES, sized
from llmastool.trees.profile import Layout, Shape

STEPS = (1, 2, 4, 7, 8, 14, 16, 32)
"""Steps in which channels and sizes are tried, small ones first; 7 and 14 are those of windows and patches."""

Observe = Callable[[Mapping[str, Json], Shape], Shape | None]
"""Gives an output's shape for changed arguments and an input's shape, None where the module does not take them."""


class Sizes:
    """What is seen of a module's sizes around one point."""

    def __init__(
        self, observe: Observe, values: Mapping[str, Json], layouts: tuple[Layout, Layout], shapes: tuple[Shape, Shape]
    ) -> None:
        """Take the point.

        Args:
            observe: runs the module.
            values: the arguments that can be varied, with their values at the point.
            layouts: of input and output.
            shapes: of input and output.
        """
        self._observe, self.values = observe, values
        self.layout, self.layout_out = layouts
        self.in_shape, self.out_shape = shapes

    def _with_size(self, size: int, axis: int | None = None) -> Shape:
        """Return the input shape with all sizes set, or only that of one axis."""
        axes = SIZE_AXES[self.layout] if axis is None else (axis,)
        return tuple(size if i in axes else n for i, n in enumerate(self.in_shape))

    def _of_output(self, shape: Shape) -> list[int]:
        return output_sizes(shape, self.out_shape, self.layout_out)

    def rule(self) -> dict[str, Any]:
        """Return what a contract says of sizes, as its fields."""
        before = [self.in_shape[axis] for axis in SIZE_AXES[self.layout]]
        after = self._of_output(self.out_shape)
        kept = {"size_args": (), "any_size": False, "size_ratio": None, "min_size": min(before, default=1)}
        if not before:
            return {**kept, "any_size": True, "size_ratio": None if after else "1"}
        if len(set(before)) == 1:
            bound = [n for n, v in self.values.items() if v == sized(v, before[0])]
            for names in ((), *groups(bound)):
                for step in (*STEPS, before[0]):
                    line = self._line(names, before[0], step, after)
                    if line is not None:
                        return self._size_rule(names, before[0], step, *line)
        if after == before:
            kept["size_ratio"] = "1"
        return kept

    def _line(
        self, names: tuple[str, ...], size: int, step: int, after: list[int]
    ) -> tuple[Fraction | None, int] | None:
        """Return slope and offset of the output sizes over the input sizes; None where they lie on no line.

        A slope of None says that the output's size stays as it is.
        """
        slopes = set()
        for k in (1, 2, 4):
            out = self._output_at(names, size + k * step)
            if out is None or len(out) != len(after):
                return None
            slopes |= {Fraction(o - a, k * step) for o, a in zip(out, after, strict=True)}
        if len(slopes) > 1:
            return None
        slope = slopes.pop() if slopes else Fraction(0)
        if slope == 0:
            return None, 0
        offsets = {a - slope * size for a in after}
        offset = offsets.pop()
        if offsets or offset.denominator != 1 or len(after) != len(SIZE_AXES[self.layout]):
            return None
        return slope, int(offset)

    def _output_at(self, names: tuple[str, ...], size: int) -> list[int] | None:
        changes = {n: sized(self.values[n], size) for n in names}
        out = self._observe(changes, self._with_size(size))
        return self._of_output(out) if out is not None else None

    def _size_rule(
        self, names: tuple[str, ...], size: int, step: int, slope: Fraction | None, offset: int
    ) -> dict[str, Any]:
        axes = SIZE_AXES[self.layout]
        square = bool(names) or any(self._observe({}, self._with_size(size + step, axis)) is None for axis in axes)
        smallest = size
        for candidate in (size // 8, size // 4, size // 2):
            if candidate >= 1 and (size - candidate) % step == 0 and self._output_at(names, candidate) is not None:
                smallest = candidate
                break
        return {
            "size_args": names,
            "any_size": True,
            "size_ratio": None if slope is None else str(slope),
            "size_offset": offset,
            "size_divisor": step,
            "square": square and len(axes) > 1,
            "min_size": smallest,
        }


def output_sizes(shape: Shape, at_point: Shape, layout: Layout) -> list[int]:
    """Return the sizes of an output, all but the batch where its layout has none; none where its rank is another."""
    axes = SIZE_AXES.get(layout, tuple(range(1, len(at_point))))
    return [shape[axis] for axis in axes] if len(shape) == len(at_point) else []


def groups(names: list[str], largest: int = 3) -> Iterator[tuple[str, ...]]:
    """Yield groups of names, small ones first, then all of them."""
    for size in range(1, min(largest, len(names)) + 1):
        yield from itertools.combinations(names[:6], size)
    if len(names) > largest:
        yield tuple(names)
