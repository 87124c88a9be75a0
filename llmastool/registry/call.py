"""How a module is called: where its main tensor goes, what else it is given, and what of its output is meant.

A call is written as JSON. `{"$input": dtype}` stands for the main tensor, `{"$tensor": {"shape": ..., "dtype": ...}}`
for another one, and `{"$dim": [axis, ratio]}`, in a shape or by itself, for a fraction of a size of the main tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from llmastool.canonical import Json

if TYPE_CHECKING:
    import torch

INPUT: Json = {"$input": "float32"}
"""The main tensor, of floating-point numbers."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """How `forward` is called with a main tensor. The default takes that tensor alone and returns one tensor."""

    args: tuple[Json, ...] = (INPUT,)
    """Positional arguments of `forward`."""
    kwargs: Mapping[str, Json] = field(default_factory=dict)
    """Keyword arguments of `forward`."""
    picks: tuple[Json, ...] = ()
    """Keys and indices that lead from what `forward` returns to the output tensor."""

    def to_json(self) -> Json:
        """Return a JSON value that `from_json` reads back."""
        return {"args": list(self.args), "kwargs": dict(self.kwargs), "picks": list(self.picks)}

    @staticmethod
    def from_json(value: Json) -> Call:
        """Read what `to_json` wrote."""
        return Call(args=tuple(value["args"]), kwargs=value["kwargs"], picks=tuple(value["picks"]))

    @property
    def dtype(self) -> str:
        """Type of the main tensor's numbers, e.g. `float32`."""
        return next(leaf["$input"] for leaf in leaves([list(self.args), dict(self.kwargs)]) if "$input" in leaf)

    def inputs(self, x: torch.Tensor, seed: int = 0) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of `forward` for a main tensor; other tensors are drawn from the seed.

        Raises:
            ValueError: a size of another tensor would not be a whole number.
        """
        return [fill(a, x, seed) for a in self.args], {k: fill(v, x, seed) for k, v in self.kwargs.items()}

    def pick(self, out: Any) -> Any:
        """Return the output that is meant."""
        for key in self.picks:
            out = getattr(out, key[1:]) if isinstance(key, str) and key.startswith(".") else out[key]
        return out


PLAIN = Call()
"""One tensor in, one out."""


def leaves(value: Json) -> Iterator[Json]:
    """Yield every tensor in a call's JSON, in order."""
    if isinstance(value, Mapping) and ("$input" in value or "$tensor" in value):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner)


def fill(value: Json, x: torch.Tensor, seed: int = 0) -> Any:
    """Return the Python value of a piece of a call for a main tensor."""
    if isinstance(value, list):
        return [fill(v, x, seed) for v in value]
    if not isinstance(value, Mapping):
        return value
    if "$input" in value:
        return x
    if "$dim" in value:
        return _dimension(value, tuple(x.shape))
    if "$tensor" in value:
        shape = tuple(_dimension(d, tuple(x.shape)) for d in value["$tensor"]["shape"])
        return example(shape, value["$tensor"]["dtype"], x.device.type, seed + 1)
    if "$tuple" in value:
        return tuple(fill(v, x, seed) for v in value["$tuple"])
    return {k: fill(v, x, seed) for k, v in value.items()}


def _dimension(value: Json, shape: Sequence[int]) -> int:
    if not isinstance(value, Mapping):
        return int(value)
    axis, ratio = value["$dim"]
    size = Fraction(ratio) * shape[axis]
    if size.denominator != 1:
        raise ValueError(f"a further input needs {ratio} of size {shape[axis]}, which is not a whole number")
    return int(size)


def example(shape: Sequence[int], dtype: str = "float32", device: str = "cpu", seed: int = 0) -> torch.Tensor:
    """Return a fixed random tensor: standard normal, or zeros and ones where the numbers are whole."""
    import torch

    kind = getattr(torch, dtype)
    if device == "meta":
        return torch.empty(tuple(shape), dtype=kind, device="meta")
    generator = torch.Generator().manual_seed(seed)
    if kind.is_floating_point or kind.is_complex:
        return torch.randn(tuple(shape), generator=generator, dtype=kind)
    return torch.randint(0, 2, tuple(shape), generator=generator).to(kind)
