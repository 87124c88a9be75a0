"""The contract: which tensors a module takes, which it gives, and which constructor argument moves which dimension."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction

from llmastool.canonical import Json
from llmastool.trees.profile import Layout, Shape

CHANNEL_AXIS: Mapping[Layout, int] = {"NCHW": 1, "NHWC": 3, "BNC": 2, "BC": 1}
"""Axis of the channels by layout."""

SIZE_AXES: Mapping[Layout, tuple[int, ...]] = {"NCHW": (2, 3), "NHWC": (1, 2), "BNC": (1,), "BC": ()}
"""Axes of the positions by layout."""


@dataclass(frozen=True, kw_only=True)
class Contract:
    """How a module fits, for one layout of its input. Learned by running it, and checked again at every edit."""

    layout_in: Layout
    layout_out: Layout
    args: Mapping[str, Json]
    """Constructor arguments at the probe point."""
    in_shape: Shape
    """Input shape at the probe point, batch first."""
    out_shape: Shape
    """Output shape at the probe point."""
    in_args: Mapping[str, str] = field(default_factory=dict)
    """Arguments that must follow the input channels, each with its ratio to them (a fraction such as `1/2`)."""
    any_channels: bool = False
    """Whether any number of input channels is taken with unchanged arguments."""
    divisor: int = 1
    """What the input channels must be a multiple of, as far as it was seen."""
    out_args: Mapping[str, str] = field(default_factory=dict)
    """Arguments that set the output channels freely, each with its ratio to them."""
    out_ratio: str | None = None
    """Output channels as a fraction of the input channels, where `out_args` is empty; None: fixed as at the probe."""
    size_ratio: str | None = None
    """Output size as a fraction of the input size; None: the output size is fixed as at the probe."""
    any_size: bool = True
    """Whether other input sizes are taken, arguments in `size_args` adapted."""
    size_args: tuple[str, ...] = ()
    """Arguments that must equal the input size."""
    stride_arg: str | None = None
    """Argument that divides the output size further, 1 at the probe point."""
    min_size: int = 1
    """Smallest input size that was seen to work."""
    free: Mapping[str, tuple[Json, ...]] = field(default_factory=dict)
    """Arguments that leave the shapes alone, with the values seen to work, the probe point's first."""
    parameters: int = 0
    """Number of parameters at the probe point."""
    flops: int = 0
    """Multiply-adds for one input at the probe point."""
    batch_one: bool = True
    """Whether a training step on a batch of one works."""
    deterministic: bool = True
    """Whether two passes in eval mode give the same output."""
    train_eval_differ: bool = False
    """Whether train mode gives another output than eval mode."""

    def to_json(self) -> Json:
        """Return a JSON value that `from_json` reads back."""
        return asdict(self)

    @staticmethod
    def from_json(value: Json) -> Contract:
        """Read what `to_json` wrote."""
        shapes = {k: tuple(value[k]) for k in ("in_shape", "out_shape", "size_args")}
        return Contract(**{**value, **shapes, "free": {k: tuple(v) for k, v in value["free"].items()}})


def solve(contract: Contract, in_shape: Shape, out_shape: Shape) -> dict[str, Json] | None:
    """Return constructor arguments with which the module maps `in_shape` to `out_shape`, or None when none fit.

    Args:
        contract: the module's contract.
        in_shape: shape of the input in the contract's `layout_in`, batch first.
        out_shape: shape of the output in its `layout_out`.

    Returns:
        Arguments by name, those of the probe point where nothing asks for others.
    """
    if len(in_shape) != len(contract.in_shape) or len(out_shape) != len(contract.out_shape):
        return None
    args = dict(contract.args)
    if _solve_channels(contract, in_shape, out_shape, args) and _solve_size(contract, in_shape, out_shape, args):
        return args
    return None


def _scaled(ratio: str, value: int) -> int | None:
    result = Fraction(ratio) * value
    return int(result) if result.denominator == 1 and result >= 1 else None


def _solve_channels(contract: Contract, in_shape: Shape, out_shape: Shape, args: dict[str, Json]) -> bool:
    axis_in, axis_out = CHANNEL_AXIS[contract.layout_in], CHANNEL_AXIS[contract.layout_out]
    channels, wanted = in_shape[axis_in], out_shape[axis_out]
    if channels % contract.divisor:
        return False
    if not contract.in_args and not contract.any_channels and channels != contract.in_shape[axis_in]:
        return False
    for name, ratio in contract.in_args.items():
        args[name] = _scaled(ratio, channels)
    for name, ratio in contract.out_args.items():
        args[name] = _scaled(ratio, wanted)
    if None in (args[name] for name in (*contract.in_args, *contract.out_args)):
        return False
    if contract.out_args:
        return True
    given = contract.out_shape[axis_out] if contract.out_ratio is None else _scaled(contract.out_ratio, channels)
    return given == wanted


def _solve_size(contract: Contract, in_shape: Shape, out_shape: Shape, args: dict[str, Json]) -> bool:
    sizes = [in_shape[axis] for axis in SIZE_AXES[contract.layout_in]]
    wanted = [out_shape[axis] for axis in SIZE_AXES[contract.layout_out]]
    probed = [contract.in_shape[axis] for axis in SIZE_AXES[contract.layout_in]]
    if sizes and min(sizes) < contract.min_size:
        return False
    if not contract.any_size and sizes != probed:
        return False
    for name in contract.size_args:
        if len(set(sizes)) != 1:
            return False
        square = isinstance(args[name], Mapping)
        args[name] = {"$tuple": list(sizes)} if square else sizes[0]
    if contract.size_ratio is None:
        return wanted == [contract.out_shape[axis] for axis in SIZE_AXES[contract.layout_out]]
    if len(wanted) != len(sizes):
        return False
    ratios = {Fraction(w, s) / Fraction(contract.size_ratio) for w, s in zip(wanted, sizes, strict=True)}
    if ratios == {Fraction(1)}:
        return True
    stride = 1 / ratios.pop() if len(ratios) == 1 else Fraction(0)
    if contract.stride_arg is None or stride.denominator != 1 or stride < 1:
        return False
    args[contract.stride_arg] = int(stride)
    return True
