"""Modules of a registry, each exported as one file and run where only torch and torchvision are installed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.machine import ROOT
from benchmarks.mining_parts.forked import Tell, Work
from benchmarks.mining_parts.guess import tensors
from benchmarks.mining_parts.judging import WORKERS, judge
from benchmarks.mining_parts.modules import Builder, seed_all
from llmastool import sandbox
from llmastool.canonical import Json
from llmastool.mining.bundle import Bundle, read_bundles
from llmastool.registry.call import example
from llmastool.registry.contract import Contract
from llmastool.registry.values import Resolver
from llmastool.trees.export import export
from llmastool.trees.tree import Tree

CHECK = """
import hashlib, importlib.util, json, random, sys, torch
given = json.load(open(sys.argv[1]))
spec = importlib.util.spec_from_file_location("exported", sys.argv[2])
module = importlib.util.module_from_spec(spec)
sys.modules["exported"] = module
spec.loader.exec_module(module)

def read(value):
    if isinstance(value, list):
        return [read(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "$tuple" in value:
        return tuple(read(v) for v in value["$tuple"])
    if "$draw" in value:
        shape, kind, seed = value["$draw"]
        kind, generator = getattr(torch, kind), torch.Generator().manual_seed(seed)
        if kind.is_floating_point or kind.is_complex:
            return torch.randn(tuple(shape), generator=generator, dtype=kind)
        return torch.randint(0, 2, tuple(shape), generator=generator).to(kind)
    return {k: read(v) for k, v in value.items()}

def tensors(value, depth=0):
    if isinstance(value, torch.Tensor):
        return [value] if value.is_floating_point() else []
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else None
    inner = vars(value).values() if inner is None and hasattr(value, "__dict__") else inner or ()
    return [t for v in inner for t in tensors(v, depth + 1)] if depth < 4 else []

torch.manual_seed(0), random.seed(0)
net = module.build_model()
net.eval()
args, kwargs = read(given["args"]), read(given["kwargs"])
torch.manual_seed(0), random.seed(0)
with torch.no_grad():
    out = tensors(net(*args, **kwargs))
state = hashlib.sha256()
for t in out:
    state.update(repr((tuple(t.shape), str(t.dtype))).encode() + t.contiguous().numpy().tobytes())
print("llmastool" in sys.modules, state.hexdigest())
"""


def prepare(request: Json) -> tuple[Sequence[Json], Work]:
    """Read the bundles of a registry.

    Args:
        request: `registry`, a folder; `items`, each with a `module` and one of its contracts.
    """
    bundles = {b.id: b for b in read_bundles(Path(request["registry"], "bundles.jsonl"))}

    def work(item: Json, tell: Tell) -> None:
        _export(bundles[item["module"]], Contract.from_json(item["contract"]), bundles, tell)

    return request["items"], work


def _export(home: Bundle, contract: Contract, bundles: dict[str, Bundle], tell: Tell) -> None:
    try:
        tree = Tree(home.id, contract.args)
        text = export(tree, bundles, in_shape=contract.in_shape, title=home.name)
        resolver = Resolver(bundles)
        net = Builder(resolver.find(home.id), home, resolver).build(contract.args)
        x = example(contract.in_shape, contract.call.dtype, seed=1)
        args, kwargs = contract.call.inputs(x, 1)
        written = {"args": written_down(args, x), "kwargs": written_down(kwargs, x)}
        tell({"text": text, "given": written, "digest": digest_of(net, args, kwargs)})
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything
        tell({"fell": "export", "message": f"{type(error).__name__}: {error}"[:300]})


def digest_of(net: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return a hash of every bit that a network puts out in eval mode.

    Raises:
        ValueError: no tensor came out.
    """
    net.eval()
    seed_all()
    with torch.no_grad():
        found = list(tensors(net(*args, **kwargs)))
    if not found:
        raise ValueError("no tensor came out")
    state = hashlib.sha256()
    for t in found:
        state.update(repr((tuple(t.shape), str(t.dtype))).encode() + t.contiguous().numpy().tobytes())
    return state.hexdigest()


def written_down(value: Any, x: torch.Tensor) -> Json:
    """Return an argument as JSON, with tensors as what they are drawn from."""
    if isinstance(value, torch.Tensor):
        return {"$draw": [list(value.shape), str(value.dtype).removeprefix("torch."), 1 if value is x else 2]}
    if isinstance(value, tuple):
        return {"$tuple": [written_down(v, x) for v in value]}
    if isinstance(value, list):
        return [written_down(v, x) for v in value]
    return {k: written_down(v, x) for k, v in value.items()} if isinstance(value, dict) else value


def bare_environment(folder: Path) -> Path:
    """Return the Python of an environment with torch, torchvision and einops as locked, made at first use.

    These are what exported files may import: other people's packages that mined code needs are not copied into them.
    """
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([str(Path(sys.base_prefix) / "bin" / "python3"), "-m", "venv", str(folder)], check=True)
        lock = (ROOT / "requirements.lock").read_text().splitlines()
        pins = [line for line in lock if line.startswith(("torch==", "torchvision==", "einops=="))]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *pins], check=True)
    return python


def run_alone(registry: Path, items: Sequence[Json], work: Path, bare: Path) -> list[Json]:
    """Export modules, run each file by itself, and compare what comes out to the last bit."""
    lines = judge("alone", {"registry": str(registry), "items": list(items)}, [registry])
    names = [line["item"]["module"].partition("@")[0] for line in lines]
    rows = run_files(lines, names, work / "exported", bare)
    return [{"module": name, **row} for name, row in zip(names, rows, strict=True)]


def run_files(lines: Sequence[Json], names: Sequence[str], folder: Path, bare: Path) -> list[Json]:
    """Run exported files, two at a time, each by itself, and compare what comes out to the last bit.

    Args:
        lines: what the judge said of each: `text`, `given` and `digest`, or why there is no file.
        names: names of the files, without their ending.
        folder: where they are written.
        bare: folder of the bare environment.
    """
    python = bare_environment(bare)
    folder.mkdir(parents=True, exist_ok=True)
    check = folder / "check.py"
    check.write_text(CHECK)

    def run(line: Json, name: str) -> Json:
        said = next((s for s in line["said"] if "text" in s), None)
        if said is None:
            why = next((s["message"] for s in line["said"] if "message" in s), line["ending"])
            return {"runs": False, "equal": False, "message": why}
        file, given = folder / f"{name}.py", folder / f"{name}.json"
        file.write_text(said["text"])
        given.write_text(json.dumps(said["given"]))
        argv = [str(python), "-I", str(check), str(given), str(file)]
        command = sandbox.command(argv, readable=[folder, bare])
        done = subprocess.run(command, env=sandbox.environment(), capture_output=True, text=True, check=False)
        row = {"lines": len(said["text"].splitlines()), "runs": done.returncode == 0}
        row["equal"] = done.stdout.split()[-2:] == ["False", said["digest"]]
        if not row["runs"]:
            row["message"] = done.stderr.strip().splitlines()[-1][:300]
        return row

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(run, lines, names))
