"""Makes inputs of the report that look like those of a real search: no result in them was measured."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmastool.candidate import Candidate
from llmastool.canonical import Json, write_json
from llmastool.filler.question import Fill
from llmastool.outcome import Gate, Outcome
from llmastool.planner.plan import Plan
from llmastool.trees.tree import Tree

BLOCK = "torchvision.models.resnet.BasicBlock@3f2a9c1d04ab"
SQUEEZE = "torchvision.ops.misc.SqueezeExcitation@77c01fe2aa90"
MIXER = "torchvision.models.convnext.CNBlock@0b5d1c22e9f7"
MINED = {
    "convolution": (BLOCK, "torchvision/models/resnet.py", (59, 104)),
    "attention": (SQUEEZE, "torchvision/ops/misc.py", (224, 262)),
    "mixer": (MIXER, "torchvision/models/convnext.py", (32, 69)),
}
FAILURES: Sequence[tuple[Gate, str]] = (
    ("shape", "layer1.0.conv2: mat1 and mat2 shapes cannot be multiplied (64x128 and 64x10)"),
    ("budget", "parameters: 2,411,904 are more than the 1,000,000 allowed"),
    ("numerics", "loss is not finite at epoch 1, step 14"),
    ("build", "SqueezeExcitation.__init__() missing 1 required positional argument: 'squeeze_channels'"),
)


def start_tree(width: int) -> Tree:
    """Return a small network: a stem, two stages of mined blocks and a head."""
    norm = {"$ref": "torch.nn.BatchNorm2d"}
    blocks = {i: Tree(BLOCK, {"inplanes": width * i, "planes": width * i, "norm_layer": norm}) for i in (1, 2)}
    stages = tuple(
        (f"stage{i}", Tree("torch.nn.Sequential", {}, (("0", block), ("1", block)))) for i, block in blocks.items()
    )
    stem = Tree("torch.nn.Conv2d", {"in_channels": 1, "out_channels": width, "kernel_size": 3, "padding": 1})
    head = Tree("torch.nn.Linear", {"in_features": 2 * width, "out_features": 10})
    return Tree("torch.nn.Sequential", {}, (("stem", stem), *stages, ("head", head)))


def edit(tree: Tree, path: str, family: str, tag: int) -> Tree:
    """Return the tree with a residual branch around a mined module at `path`."""
    module = Tree(MINED[family][0], {"dim": 16 + tag, "activation": {"$tree": {"module": "torch.nn.GELU"}}})
    return tree.with_node(path, Tree("llmastool.blocks.Residual", {}, (("body", module),)))


def archive(
    rounds: int = 4, per_round: int = 8, seed: int = 0, *, fail: float = 0.15, change: str = "", message: str = ""
) -> Json:
    """Return an archive. `change` and `message` are added to every candidate's, for text out of the ordinary."""
    draw = random.Random(seed)
    entries: list[Json] = []
    alive: list[tuple[Candidate, float]] = []
    starts = ((8, "NAS-Bench-201 skeleton"), (12, "resnet18, adapted"), (16, "shufflenet, adapted"))
    for index, (width, name) in enumerate(starts):
        candidate = Candidate(
            tree=start_tree(width), round=0, index=index, parent=None, change=name + change, plan=None, fill=None
        )
        entries.append(_entry(candidate, 90 + 2 * index + draw.gauss(0, 0.5), draw, fail, message, alive))
    for round_ in range(1, rounds + 1):
        pool = sorted(alive, key=lambda pair: -pair[1])[:5]
        for index in range(per_round):
            tag = round_ * 1000 + index
            parent, accuracy = draw.choice(pool) if pool else (Candidate.from_json(entries[0]["candidate"]), 90.0)
            candidate, came = _child(parent, accuracy, round_, index, tag, draw, change)
            entries.append(_entry(candidate, came, draw, fail, message, alive))
    reports = [
        {
            "round": r,
            "options": 240 + 7 * r,
            "diagnostics": {"rhat_max": 1.012, "ess_min": 312.4, "divergences": 0, "seconds": 1.7, "method": "nutpie"},
        }
        for r in range(1, rounds + 1)
    ]
    counts = {"train": 1079, "validation": 359, "test": 359}
    data = {"name": "digits", "classes": 10, "shape": [1, 8, 8], "counts": counts, "digest": "9f" * 32}
    return {
        "version": 2,
        "seed": seed,
        "data": data,
        "rounds": rounds,
        "planner_reports": reports,
        "diversity": [
            {"round": r, "families": 5 + r, "modules": 21 + 4 * r, "distance": 0.62 - 0.02 * r if r != 3 else None}
            for r in range(rounds + 1)
        ],
        "explained": {"family": EFFECTS, "edits by kind": EFFECTS[:1]},
        "entries": entries,
    }


EFFECTS: list[Json] = [
    {"name": f"f{i:02} <b>", "number": 3 + i, "mean": 1.5 - i / 4, "low": 0.5 - i / 4, "high": 2.5 - i / 4}
    for i in range(20)
]


def _child(
    parent: Candidate, accuracy: float, round_: int, index: int, tag: int, draw: random.Random, change: str
) -> tuple[Candidate, float]:
    family = draw.choice(sorted(MINED))
    slot = f"stage{draw.randint(1, 2)}.{draw.randint(0, 1)}"
    expected = draw.gauss(0.4, 0.3)
    reason = "no posterior yet" if round_ == 1 else draw.choice(["expected improvement"] * 3 + ["diversity quota"])
    kind = draw.choice(["replace", "insert"])
    plan = Plan(
        parent=parent.id,
        slot=slot,
        kind=kind,
        family=family,
        tree=edit(parent.tree, slot, family, tag).id,
        expected_gain=expected,
        spread=0.6,
        novelty=draw.random() * 3,
        reason=reason,
    )
    late = index % 5 == 4
    fill = Fill(
        question=f"{tag:016x}",
        key="b",
        rationale="keeps the width and adds channel attention at little cost",
        filler="rules" if late else "openai:gpt-5-mini",
        fallback="no answer within 60 s" if late else "",
        prompt_tokens=0 if late else 1400,
        completion_tokens=0 if late else 38,
        seconds=60.0 if late else 2.3,
    )
    name = MINED[family][0].partition("@")[0].rpartition(".")[2]
    candidate = Candidate(
        tree=edit(parent.tree, slot, family, tag),
        round=round_,
        index=index,
        parent=parent.id,
        change=f"{kind} {slot}: {name}(dim={16 + tag}){change}",
        plan=plan.to_json(),
        fill=fill.to_json(),
    )
    gap = (100 - accuracy) * 0.25
    return candidate, min(accuracy + draw.gauss(0.05 * gap, 0.6 * gap + 0.1), 99.7)


def _entry(
    candidate: Candidate,
    accuracy: float,
    draw: random.Random,
    fail: float,
    message: str,
    alive: list[tuple[Candidate, float]],
) -> Json:
    gate, why = draw.choice(FAILURES) if draw.random() < fail else ("ok", "")
    parameters = int(10 ** draw.uniform(4.0, 5.6))
    costs = {"parameters": parameters, "flops": parameters * 61, "depth": draw.randint(6, 20)}
    metrics = {}
    if gate == "ok":
        metrics = {"validation_accuracy": 41.3 if draw.random() < 0.04 else accuracy, **costs}
        alive.append((candidate, metrics["validation_accuracy"]))
    profiled = gate not in ("edit", "build", "shape")
    seconds = 1.5 + costs["depth"] / 4 if profiled else 0.0
    outcome = Outcome(
        candidate=candidate.id, gate=gate, message=why + message if why else "", metrics=metrics, seconds=seconds
    )
    return {"candidate": candidate.to_json(), "profile": costs if profiled else None, "outcome": outcome.to_json()}


def final(of: Json, finalists: int = 3) -> Json:
    """Return the final of an archive: its best retrained over three seeds; no best where none was trained."""
    ok = [e for e in of["entries"] if e["outcome"]["gate"] == "ok"]
    ok.sort(key=lambda e: -e["outcome"]["metrics"]["validation_accuracy"])
    listed = []
    for place, entry in enumerate(ok[:finalists]):
        accuracy = entry["outcome"]["metrics"]["validation_accuracy"]
        seeds: list[Json] = [
            {"seed": s, "test_accuracy": accuracy - 0.4 - 0.1 * s, "gate": "ok", "message": ""} for s in range(3)
        ]
        if place == 1:
            seeds[2] = {"seed": 2, "test_accuracy": None, "gate": "numerics", "message": "loss is not finite"}
        candidate = Candidate.from_json(entry["candidate"])
        listed.append(
            {
                "id": candidate.id,
                "name": candidate.name,
                "round": candidate.round,
                "parameters": entry["profile"]["parameters"],
                "flops": entry["profile"]["flops"],
                "validation_accuracy": accuracy,
                "test_accuracy": {"mean": accuracy - 0.5, "sd": 0.08, "seeds": seeds},
            }
        )
    origins = {
        module: {
            "name": module.partition("@")[0],
            "source": "torchvision",
            "version": "0.29.1",
            "licence": "BSD-3-Clause",
            "path": path,
            "lines": list(lines),
        }
        for module, path, lines in MINED.values()
    }
    files = {"code": "best.py", "tree": "best.json", "weights": "weights.safetensors"}
    best = listed[0]["id"] if listed else None
    return {"version": 1, "best": best, "finalists": listed, "origins": origins, "files": files}


def registry(**source: Any) -> Json:
    """Return a registry's summary; keywords change its first source."""
    first = {
        "name": "torchvision",
        "kind": "installed",
        "version": "0.29.1",
        "licence": "BSD-3-Clause",
        "digest": "ab" * 8,
        "found": 287,
        "sliced": 287,
        "loaded": 281,
        "built": 214,
        "forward": 163,
        "backward": 160,
        "contract": 142,
        **source,
    }
    stages = ("found", "sliced", "loaded", "built", "forward", "backward", "contract")
    second = {"name": "mymodels", "kind": "path", "version": "", "licence": "", "digest": "cd" * 8}
    return {
        "sources": [first, {**second, **dict(zip(stages, (12, 12, 12, 10, 9, 9, 8), strict=True))}],
        "families": {
            "convolution": 61,
            "normalisation": 22,
            "attention": 18,
            "activation": 17,
            "pooling": 9,
            "other": 15,
        },
        "reasons": [
            {"stage": "build", "message": "argument 'backbone' has no generic value", "count": 31},
            {"stage": "forward", "message": "expected 5D input (got 4D input)", "count": 24},
            {"stage": "load", "message": "ImportError: torchvision._C", "count": 6},
        ],
    }


def write(folder: Path, *, archive_: Json = None, final_: Json = None, registry_: Json = None) -> Path:
    """Write the three inputs under a folder and return it."""
    of = archive() if archive_ is None else archive_
    write_json(folder / "archive" / "archive.json", of)
    write_json(folder / "final" / "final.json", final(of) if final_ is None else final_)
    write_json(folder / "registry" / "summary.json", registry() if registry_ is None else registry_)
    return folder
