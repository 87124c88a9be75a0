"""A contract in words, for a reader."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

from llmastool.canonical import Json
from llmastool.registry.call import PLAIN, Call
from llmastool.registry.contract import CHANNEL_AXIS, SIZE_AXES, Contract

Line = tuple[str, str]
"""What a line is about, and what it says."""


def describe(contract: Contract) -> Iterator[Line]:
    """Yield what a contract says, a line for each thing that a user of the module asks."""
    yield "takes", f"{contract.layout_in} such as {_shape(contract.in_shape)}"
    yield "gives", f"{contract.layout_out} such as {_shape(contract.out_shape)}"
    if contract.call != PLAIN:
        yield "called as", _call(contract.call)
    yield "built with", arguments(contract.args) or "nothing"
    yield "channels in", _channels_in(contract)
    yield "channels out", _channels_out(contract)
    if SIZE_AXES[contract.layout_in]:
        yield "size in", _size_in(contract)
        yield "size out", _size_out(contract)
    yield "batch", _batch(contract)
    for name, values in contract.free.items():
        yield "free", f"{name} (seen: {', '.join(value(v) for v in values)})"
    yield "costs", f"{contract.parameters:,} parameters, {contract.flops:,} multiply-adds for one such input"
    yield "passes", _passes(contract)
    if contract.checked:
        yield "tested", f"on {contract.checked} shapes that it was not inferred from; it held on {contract.held}"


def last_name(module: str) -> str:
    """Return the last name of a module's id, e.g. `BasicBlock` of `torchvision.models.resnet.BasicBlock@3f2a`."""
    return module.partition("@")[0].rpartition(".")[2] or module


def arguments(args: Mapping[str, Json]) -> str:
    """Return constructor arguments as they would be written in a call."""
    return ", ".join(f"{name}={value(given)}" for name, given in args.items())


def value(given: Json, name: Callable[[str], str] = str, module: Callable[[Json], str] | None = None) -> str:
    """Return one argument as it would be written in Python.

    Args:
        given: the argument, encoded.
        name: how a class or function is written; by its dotted name unless told.
        module: how a module among the arguments is written, given its tree; as its constructor's call unless told.
    """

    def inner(part: Json) -> str:
        return value(part, name, module)

    if isinstance(given, list):
        return f"[{', '.join(map(inner, given))}]"
    if not isinstance(given, Mapping):
        return repr(given)
    if "$ref" in given:
        return name(str(given["$ref"]))
    if "$tuple" in given:
        listed = ", ".join(map(inner, given["$tuple"]))
        return f"({listed},)" if len(given["$tuple"]) == 1 else f"({listed})"
    for kind in ("$partial", "$call"):
        if kind in given and isinstance(given[kind], Mapping) and "func" in given[kind]:
            return _called(given[kind], "partial" if kind == "$partial" else "", inner)
    if "$tree" in given:
        tree = given["$tree"]
        return module(tree) if module is not None else f"{tree['module']}({arguments(tree.get('args', {}))})"
    if "$object" in given:
        state = ", ".join(f"{key}={inner(part)}" for key, part in given["$object"]["state"].items())
        return f"{name(str(given['$object']['class']))}({state})"
    if any(key.startswith("$") for key in given):
        return json.dumps(given, ensure_ascii=False)
    return "{" + ", ".join(f"{key!r}: {inner(part)}" for key, part in given.items()) + "}"


def _called(given: Mapping[str, Json], wrapper: str, inner: Callable[[Json], str]) -> str:
    func = given["func"] if isinstance(given["func"], str) else inner(given["func"])
    rest = [*map(inner, given.get("args", ())), *(f"{k}={inner(v)}" for k, v in given.get("kwargs", {}).items())]
    return f"{wrapper}({', '.join([func, *rest])})" if wrapper else f"{func}({', '.join(rest)})"


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _call(call: Call) -> str:
    shown = [*map(_input, call.args), *(f"{name}={_input(given)}" for name, given in call.kwargs.items())]
    picks = "".join(p if isinstance(p, str) and p.startswith(".") else f"[{p!r}]" for p in call.picks)
    return f"forward({', '.join(shown)}){picks}"


def _input(given: Json) -> str:
    if isinstance(given, Mapping) and "$input" in given:
        return "x" if given["$input"] == "float32" else f"x of {given['$input']}"
    if isinstance(given, Mapping) and "$tensor" in given:
        tensor = given["$tensor"]
        return f"{tensor['dtype']} tensor ({', '.join(map(_dimension, tensor['shape']))})"
    if isinstance(given, Mapping) and "$dim" in given:
        return _dimension(given)
    if isinstance(given, list):
        return f"[{', '.join(map(_input, given))}]"
    return value(given)


def _dimension(given: Json) -> str:
    if not isinstance(given, Mapping):
        return str(given)
    axis, ratio = given["$dim"]
    return f"size {axis} of x" if str(ratio) == "1" else f"{ratio} of size {axis} of x"


def _follows(args: Mapping[str, str], what: str) -> str:
    return ", ".join(f"{name} = {'' if ratio == '1' else f'{ratio} of '}{what}" for name, ratio in args.items())


def _step(divisor: int, start: int) -> str:
    return f"in steps of {divisor} from {start}" if divisor > 1 else f"from {start}"


def _channels_in(contract: Contract) -> str:
    probed = contract.in_shape[CHANNEL_AXIS[contract.layout_in]]
    start = contract.min_channels
    # Steps are counted from the probe point: the first of them that is allowed is what a reader can start from.
    start += (probed - start) % contract.divisor
    if contract.in_args:
        return f"{_step(contract.divisor, start)}, with {_follows(contract.in_args, 'channels')}"
    return f"{_step(contract.divisor, start)}, arguments unchanged" if contract.any_channels else f"{probed} only"


def _channels_out(contract: Contract) -> str:
    if contract.layout_out not in CHANNEL_AXIS:
        return "not told apart"
    if contract.out_args:
        step = f" in steps of {contract.out_divisor}" if contract.out_divisor > 1 else ""
        return f"as wanted{step}, with {_follows(contract.out_args, 'channels')}"
    if contract.out_ratio is None:
        return f"always {contract.out_shape[CHANNEL_AXIS[contract.layout_out]]}"
    return "as many as in" if contract.out_ratio == "1" else f"{contract.out_ratio} of those in"


def _size_in(contract: Contract) -> str:
    probed = [contract.in_shape[axis] for axis in SIZE_AXES[contract.layout_in]]
    if not contract.any_size:
        return f"{'x'.join(map(str, probed))} only"
    start = contract.min_size + (probed[0] - contract.min_size) % contract.size_divisor
    parts = [_step(contract.size_divisor, start)]
    parts += ["all sides equal"] if contract.square or contract.size_args else []
    parts += [f"with {', '.join(contract.size_args)} = size"] if contract.size_args else []
    return ", ".join(parts)


def _size_out(contract: Contract) -> str:
    if contract.size_ratio is None:
        return "always the same"
    offset = f" {'+' if contract.size_offset > 0 else '-'} {abs(contract.size_offset)}" if contract.size_offset else ""
    base = "that of the input" if contract.size_ratio == "1" else f"{contract.size_ratio} of that of the input"
    if contract.stride_arg is None:
        return base + offset
    return f"{base}{offset}, divided by {contract.stride_arg} (1 to {contract.max_stride})"


def _batch(contract: Contract) -> str:
    parts = ["any" if contract.any_batch else f"{contract.in_shape[0]} only"]
    parts += [] if contract.batch_one else ["not one (it cannot be trained on)"]
    parts += [] if contract.per_sample else ["samples influence each other in eval mode"]
    return ", ".join(parts)


def _passes(contract: Contract) -> str:
    repeated = "the same output each time" if contract.deterministic else "another output each time"
    trained = "another in train mode" if contract.train_eval_differ else "the same in train mode"
    return f"{repeated} in eval mode, {trained}"
