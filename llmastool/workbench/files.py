"""Build a network and write its weights and its program: `python -m llmastool.workbench.files`, in the sandbox."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from llmastool.canonical import Json
from llmastool.errors import LLMasToolError, TreeError
from llmastool.modes import evaluating, quiet
from llmastool.sandbox import GIB, Limits, virtual_memory
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog
from llmastool.trees.tree import Tree
from llmastool.workbench.export import PROGRAM, SECONDS, WEIGHTS

_MEMORY = 16 * GIB


def files(request: Json) -> Json:
    """Write what is asked for; return the names of the files, and why there is no program, empty where there is one.

    Raises:
        LLMasToolError: the network cannot be built, or the weights are not its.
    """
    tree, out = Tree.from_json(request["tree"]), Path(request["out"])
    catalog = Catalog.open(Path(request["registry"]) if request["registry"] is not None else None)
    torch.manual_seed(request["seed"])
    with quiet():
        net = build(tree, catalog)
    if request["weights"] is not None:
        _load(net, request["weights"])
    save_model(net, str(out / WEIGHTS))
    why = _program(evaluating(net), tuple(request["in_shape"]), out / PROGRAM)
    return {"written": [WEIGHTS, *([] if why else [PROGRAM])], "program": why}


def _load(net: nn.Module, weights: str) -> None:
    try:
        load_model(net, weights)
    except Exception as error:
        line = " ".join(str(error).split())[:300]
        raise TreeError(f"{weights}: expected the weights of this network, got others: {line}") from error


def _program(net: nn.Module, in_shape: tuple[int, ...], path: Path) -> str:
    try:
        with quiet():
            program = torch.export.export(net, (torch.zeros(in_shape),))
            torch.export.save(program, path)
    except Exception as error:  # noqa: BLE001 - whatever the tracer or mined code raises is the reason
        path.unlink(missing_ok=True)
        return f"torch.export cannot trace it: {' '.join(str(error).split())[:200]}"
    return ""


def main() -> None:
    """Read a request, write the files, say what came of it."""
    request = json.loads(sys.stdin.read())
    said = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    limits = Limits(
        memory_bytes=virtual_memory() + _MEMORY, cpu_seconds=int(4 * SECONDS), file_bytes=_MEMORY, open_files=1024
    )
    limits.apply()
    try:
        answer = files(request)
    except LLMasToolError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    with said:
        json.dump(answer, said)


if __name__ == "__main__":
    main()
