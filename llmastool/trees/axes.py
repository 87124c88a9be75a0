"""What the dimensions of a tensor mean, told by its shape."""

from __future__ import annotations

from llmastool.registry.contract import CHANNEL_AXIS, SIZE_AXES
from llmastool.trees.profile import Layout, Shape


def layout_of(shape: Shape) -> Layout | None:
    """Return the layout of a tensor by its shape: maps are taken to be square, with channels first when in doubt."""
    if len(shape) == 4:
        return "NHWC" if shape[1] == shape[2] != shape[3] else "NCHW"
    return {3: "BNC", 2: "BC"}.get(len(shape))  # type: ignore[return-value]


def channels_of(shape: Shape, layout: Layout) -> int:
    """Return the number of channels of a tensor."""
    return shape[CHANNEL_AXIS[layout]]


def sizes_of(shape: Shape, layout: Layout) -> tuple[int, ...]:
    """Return the positions' sizes of a tensor."""
    return tuple(shape[axis] for axis in SIZE_AXES[layout])
