"""What a network is made of, as seen by running it once without computing: its slots, shapes and costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Literal, TypeAlias

from llmastool.canonical import Json
from llmastool.trees.flow import Flow

Shape: TypeAlias = tuple[int, ...]
"""Sizes of a tensor, batch first."""

BATCH = 2
"""Batch size with which networks are observed."""

Layout = Literal["NCHW", "NHWC", "BNC", "BC", "NCL", "NCDHW", "other"]
"""Meaning of a tensor's dimensions: image maps with channels first or last, tokens, vectors, sequences with channels
first, volumes or clips; `other` for an output of which only the batch and the numbers are known."""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place in a network where a module stands, and what passes through it."""

    path: str
    """Dotted path from the root, e.g. `layer1.0.conv2`."""
    module: str
    """Id of the module that stands there; empty when it is of a class that no registry knows."""
    family: str
    """Family of that module, e.g. `convolution`; `unknown` when no registry knows it."""
    args: Mapping[str, Json] | None
    """Constructor arguments as captured; None when one of them cannot be written as JSON."""
    in_shape: Shape | None
    """Shape of the one input tensor, e.g. `(batch, channels, height, width)`; None unless there is just one."""
    out_shape: Shape | None
    """Shape of the one output tensor; None unless there is just one."""
    layout: Layout | None
    """Layout of the input; None when it cannot be told."""
    calls: int
    """How often one forward pass calls it."""
    parameters: int
    """Number of parameters below this slot."""
    flops: int
    """Multiply-adds for one image, all calls and all below included."""
    stage: int
    """How many times the resolution had been reduced where its input comes in; 0 at the stem."""
    leaf: bool
    """Whether no slot lies below it."""
    behaviour: tuple[str, ...] = ()
    """What its module does, in words (`llmastool.registry.behaviour.descriptors`); empty when no registry knows it."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A network's slots and costs for one input shape. Everything the planner knows of a tree comes from here."""

    slots: tuple[Slot, ...]
    """Every slot that a forward pass calls, in the order of first call; a parent comes before its children."""
    in_shape: Shape
    """Shape of the input it was observed with, `(batch, channels, height, width)`."""
    out_shape: Shape
    """Shape of the output, `(batch, classes)` for a classifier."""
    parameters: int
    """Number of parameters."""
    flops: int
    """Multiply-adds for one image."""
    depth: int
    """Number of calls of leaf slots that have parameters."""
    flow: Flow = field(default_factory=Flow)
    """Which slot reads what which other one gives; empty where it is not known."""
    extra: Mapping[str, float] = field(default_factory=dict)
    """Further numbers for the planner, e.g. cheap proxies; empty by default."""

    def to_json(self) -> Json:
        """Return a JSON value that `from_json` reads back."""
        # By hand, as `asdict` copies deeply, and there are many of these.
        slots = [{name: getattr(slot, name) for name in _SLOT} for slot in self.slots]
        return {**{name: getattr(self, name) for name in _PROFILE}, "slots": slots, "flow": asdict(self.flow)}

    @staticmethod
    def from_json(value: Json) -> Profile:
        """Read what `to_json` wrote."""
        slots = tuple(
            Slot(**{**slot, **_shapes(slot), "behaviour": tuple(slot["behaviour"])}) for slot in value["slots"]
        )
        flow = Flow(tuple(value["flow"]["nodes"]), tuple((a, b) for a, b in value["flow"]["edges"]))
        return Profile(**{**value, **_shapes(value), "slots": slots, "flow": flow})


_SLOT, _PROFILE = ([field.name for field in fields(of)] for of in (Slot, Profile))


def _shapes(value: Json) -> dict[str, Shape | None]:
    found = {name: value[name] for name in ("in_shape", "out_shape")}
    return {name: tuple(shape) if shape is not None else None for name, shape in found.items()}
