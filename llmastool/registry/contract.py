"""The contract: which tensors a module takes, which it gives, and which constructor argument moves which dimension."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction

from llmastool.canonical import Json
from llmastool.registry.call import PLAIN, Call
from llmastool.trees.profile import Layout, Shape

CHANNEL_AXIS: Mapping[Layout, int] = {"NCHW": 1, "NHWC": 3, "BNC": 2, "BC": 1, "NCL": 1, "NCDHW": 1}
"""Axis of the channels by layout."""

SIZE_AXES: Mapping[Layout, tuple[int, ...]] = {
    "NCHW": (2, 3), "NHWC": (1, 2), "BNC": (1,), "BC": (), "NCL": (2,), "NCDHW": (2, 3, 4)
}  # fmt: skip
"""Axes of the positions by layout."""


@dataclass(frozen=True, kw_only=True)
class Contract:
    """How a module fits, for one layout of its input. Learned by running it, and checked again at every edit."""

    layout_in: Layout
    layout_out: Layout
    args: Mapping[str, Json]
    """Constructor arguments at the probe point."""
    in_shape: Shape
    """Shape of the input at the probe point, batch first; of the first tensor where it takes several inputs."""
    out_shape: Shape
    """Shape of the output at the probe point."""
    call: Call = PLAIN
    """How it is called with that tensor, and which part of what it returns is the output."""
    in_args: Mapping[str, str] = field(default_factory=dict)
    """Arguments that must follow the input channels, each with its ratio to them (a fraction such as `1/2`)."""
    any_channels: bool = False
    """Whether any number of input channels is taken with unchanged arguments."""
    divisor: int = 1
    """Step in which input channels were seen to vary from those of the probe point."""
    min_channels: int = 1
    """Smallest number of input channels that was seen to work."""
    out_args: Mapping[str, str] = field(default_factory=dict)
    """Arguments that set the output channels freely, each with its ratio to them."""
    out_divisor: int = 1
    """Step in which output channels were seen to vary from those of the probe point, where `out_args` set them."""
    out_ratio: str | None = None
    """Output channels as a fraction of the input channels, where `out_args` is empty; None: fixed as at the probe."""
    size_ratio: str | None = None
    """Output size as a fraction of the input size, `size_offset` aside; None: it is fixed as at the probe."""
    size_offset: int = 0
    """What is added to that fraction, as -2 by a 3x3 convolution without padding."""
    any_size: bool = True
    """Whether other input sizes are taken, arguments in `size_args` adapted."""
    size_args: tuple[str, ...] = ()
    """Arguments that must equal the input size."""
    size_divisor: int = 1
    """Step in which input sizes were seen to vary from that of the probe point."""
    square: bool = False
    """Whether all sizes of an input have to be equal."""
    min_size: int = 1
    """Smallest input size that was seen to work."""
    stride_arg: str | None = None
    """Argument that divides the output size further, 1 at the probe point."""
    max_stride: int = 1
    """Largest value of `stride_arg` that was seen to work."""
    any_batch: bool = True
    """Whether other batch sizes are taken."""
    per_sample: bool = True
    """Whether, in eval mode, an output depends on the input at its own place in the batch only."""
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
    checked: int = 0
    """How many shapes, none of those it was inferred from, it was tested on."""
    held: int = 0
    """On how many of them the output had the shape that it claims."""

    @property
    def plain(self) -> bool:
        """Whether the module stands in a network as it is: one tensor in, one out, sample by sample."""
        return self.call == PLAIN and self.per_sample and self.any_batch

    def to_json(self) -> Json:
        """Return a JSON value that `from_json` reads back."""
        return asdict(self)

    @staticmethod
    def from_json(value: Json) -> Contract:
        """Read what `to_json` wrote."""
        shapes = {k: tuple(value[k]) for k in ("in_shape", "out_shape", "size_args")}
        free = {k: tuple(v) for k, v in value["free"].items()}
        return Contract(**{**value, **shapes, "free": free, "call": Call.from_json(value["call"])})


def solve(contract: Contract, in_shape: Shape, out_shape: Shape) -> dict[str, Json] | None:
    """Return constructor arguments with which the module maps `in_shape` to `out_shape`, or None when none fit.

    Only what was seen to work, or lies between such points, is claimed: another size has to differ from the probe
    point's by a multiple of `size_divisor`, and so on.

    Args:
        contract: the module's contract.
        in_shape: shape of the input in the contract's `layout_in`, batch first.
        out_shape: shape of the output in its `layout_out`.

    Returns:
        Arguments by name, those of the probe point where nothing asks for others.
    """
    if len(in_shape) != len(contract.in_shape) or len(out_shape) != len(contract.out_shape):
        return None
    if not _solve_batch(contract, in_shape, out_shape):
        return None
    args = dict(contract.args)
    if _solve_channels(contract, in_shape, out_shape, args) and _solve_size(contract, in_shape, out_shape, args):
        return args
    return None


def _solve_batch(contract: Contract, in_shape: Shape, out_shape: Shape) -> bool:
    if in_shape[0] != contract.in_shape[0] and not contract.any_batch:
        return False
    if in_shape[0] == 1 and not contract.batch_one:
        return False
    if not out_shape:
        return True
    return out_shape[0] * contract.in_shape[0] == contract.out_shape[0] * in_shape[0]


@functools.lru_cache(maxsize=65536)
def scaled(ratio: str, value: int) -> int | None:
    """Return a fraction of a whole number, or None where that is not a positive whole number."""
    result = Fraction(ratio) * value
    return int(result) if result.denominator == 1 and result >= 1 else None


def enlarged(shape: Shape, layout: Layout) -> Shape:
    """Return a shape with all sizes doubled, batch and channels left as they are."""
    return tuple(2 * n if i in SIZE_AXES[layout] else n for i, n in enumerate(shape))


def sized(value: Json, size: int) -> Json:
    """Return a size argument set to another size: a number, or a tuple of as many as it holds."""
    return {"$tuple": [size] * len(value["$tuple"])} if isinstance(value, Mapping) and "$tuple" in value else size


def _solve_channels(contract: Contract, in_shape: Shape, out_shape: Shape, args: dict[str, Json]) -> bool:
    axis_in = CHANNEL_AXIS[contract.layout_in]
    channels, probed = in_shape[axis_in], contract.in_shape[axis_in]
    if channels != probed:
        if (channels - probed) % contract.divisor or channels < contract.min_channels:
            return False
        if not contract.in_args and not contract.any_channels:
            return False
    for name, ratio in contract.in_args.items():
        args[name] = scaled(ratio, channels)
    if contract.layout_out not in CHANNEL_AXIS:
        return None not in (args[name] for name in contract.in_args)
    axis_out = CHANNEL_AXIS[contract.layout_out]
    wanted, given = out_shape[axis_out], contract.out_shape[axis_out]
    for name, ratio in contract.out_args.items():
        args[name] = scaled(ratio, wanted)
    if None in (args[name] for name in (*contract.in_args, *contract.out_args)):
        return False
    if contract.out_args:
        return (wanted - given) % contract.out_divisor == 0
    return wanted == (given if contract.out_ratio is None else scaled(contract.out_ratio, channels))


def _solve_size(contract: Contract, in_shape: Shape, out_shape: Shape, args: dict[str, Json]) -> bool:
    sizes = [in_shape[axis] for axis in SIZE_AXES[contract.layout_in]]
    probed = [contract.in_shape[axis] for axis in SIZE_AXES[contract.layout_in]]
    out_axes = SIZE_AXES.get(contract.layout_out, tuple(range(1, len(out_shape))))
    wanted, given = [out_shape[axis] for axis in out_axes], [contract.out_shape[axis] for axis in out_axes]
    if sizes != probed and not _size_is_taken(contract, sizes, probed):
        return False
    for name in contract.size_args:
        args[name] = sized(args[name], sizes[0])
    stride = _stride_between(contract, sizes, wanted, given)
    if stride is None or stride > contract.max_stride:
        return False
    if stride > 1 and contract.stride_arg is not None:
        args[contract.stride_arg] = stride
    return True


def _size_is_taken(contract: Contract, sizes: list[int], probed: list[int]) -> bool:
    if not contract.any_size or min(sizes) < contract.min_size:
        return False
    if (contract.square or contract.size_args) and len(set(sizes)) != 1:
        return False
    return all((s - p) % contract.size_divisor == 0 for s, p in zip(sizes, probed, strict=True))


def _stride_between(contract: Contract, sizes: list[int], wanted: list[int], given: list[int]) -> int | None:
    """Return by how much more than at the probe point the output has to be reduced; None where it cannot be."""
    if contract.size_ratio is None:
        return 1 if wanted == given else None
    if len(wanted) != len(sizes):
        return None
    if not sizes:
        return 1  # vectors have no sizes
    plain = [Fraction(contract.size_ratio) * s + contract.size_offset for s in sizes]
    if any(p.denominator != 1 or p < 1 for p in plain):
        return None
    strides = {p / w for p, w in zip(plain, wanted, strict=True)}
    stride = strides.pop() if len(strides) == 1 else Fraction(0)
    return int(stride) if stride.denominator == 1 and stride >= 1 else None
