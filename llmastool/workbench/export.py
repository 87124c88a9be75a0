"""Write a tree out for use elsewhere: as one plain PyTorch file, as a program of `torch.export`, and its weights.

The file is text, and made here. Weights and program come from the built network, so they are made in the sandbox
(`llmastool.workbench.files`).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from llmastool import errors, sandbox
from llmastool.canonical import Json, dumps, write_atomic, write_json
from llmastool.errors import SandboxError, TreeError
from llmastool.mining.bundle import Bundle
from llmastool.trees.export import export
from llmastool.trees.profile import Shape
from llmastool.trees.tree import Tree

CODE, TREE, WEIGHTS, PROGRAM = "model.py", "tree.json", "weights.safetensors", "program.pt2"
SECONDS = 900.0
"""Wall time for building and tracing a network."""


def write(
    tree: Tree,
    bundles: Mapping[str, Bundle],
    registry: Path | None,
    in_shape: Shape,
    out: Path,
    *,
    seed: int = 0,
    weights: Path | None = None,
) -> dict[str, str]:
    """Write a network's files, and return what each is; where one could not be made, `not written:` and why.

    Args:
        tree: the network.
        bundles: mined modules by id.
        registry: folder of the registry; None for a tree of PyTorch's modules and our own.
        in_shape: shape of an input, batch first; the program takes inputs of this shape.
        out: folder to write to; it is made if need be.
        seed: of fresh weights.
        weights: trained weights, in safetensors; fresh ones if not given.

    Raises:
        TreeError: it cannot be built, or the weights are not its.
        RegistryError: the registry lacks a module.
        SandboxError: the sandbox cannot be set up, or the network ended it.
    """
    if weights is not None and not weights.is_file():
        raise TreeError(f"{weights}: expected weights in safetensors, found no such file")
    code = export(tree, bundles, in_shape=in_shape, title=f"Network {tree.id}")
    request = {
        "tree": tree.to_json(), "registry": str(registry.resolve()) if registry is not None else None,
        "in_shape": list(in_shape), "seed": seed, "weights": str(weights.resolve()) if weights is not None else None,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as made:
        answer = _in_sandbox({**request, "out": made}, [p for p in (registry, weights) if p is not None], Path(made))
        out.mkdir(parents=True, exist_ok=True)
        for name in answer["written"]:
            shutil.copyfile(Path(made, name), out / name)
    write_atomic(out / CODE, code)
    write_json(out / TREE, tree.to_json())
    program = answer["program"]
    return {
        CODE: "one plain PyTorch file: build_model()",
        TREE: "the tree",
        WEIGHTS: f"its weights, {'as given' if weights is not None else f'fresh, of seed {seed}'}",
        PROGRAM: f"not written: {program}" if program else "a program of torch.export, in eval mode",
    }


def _in_sandbox(request: Json, readable: list[Path], writable: Path) -> Json:
    argv = sandbox.command([sys.executable, "-m", "llmastool.workbench.files"], readable=readable, writable=[writable])
    try:
        done = subprocess.run(
            argv,
            input=dumps(request).encode(),
            env=sandbox.environment(),
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        answer = json.loads(done.stdout) if done.returncode == 0 else None
    except subprocess.TimeoutExpired:
        raise SandboxError(f"the network was not written within {SECONDS:.0f} seconds") from None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise SandboxError(f"the process that writes the network ended ({done.returncode}): {''.join(last)[:300]}")
    if "error" in answer:
        raise errors.from_name(str(answer["error"]), str(answer["message"]))
    return answer
