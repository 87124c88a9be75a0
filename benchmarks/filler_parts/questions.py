"""Questions as a search asks them: plans drawn at random over edits of real networks, made once and kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.machine import ROOT
from llmastool.canonical import dumps, write_atomic
from llmastool.params import Params
from llmastool.planner.plan import Plan, Wishes
from llmastool.proposals.asked import Asked
from llmastool.trees.budget import Budget
from llmastool.trees.profile import Profile
from llmastool.trees.tree import Tree
from llmastool.workbench.client import Workbench

IN_SHAPE = (2, 3, 32, 32)
CLASSES = 10
BUDGET = Budget(parameters=1_000_000, flops=20_000_000)
PARENTS = 6
PLANS = 60
"""Plans of a round, at most."""


def bench(registry: Path) -> Workbench:
    """Return a workbench for networks on images of CIFAR-10's shape."""
    return Workbench(registry, IN_SHAPE, CLASSES, BUDGET)


def questions(registry: Path, count: int, kept: Path) -> list[Asked]:
    """Return questions with more than one choice, made or read.

    The parents of a round are drawn from the start population and what earlier rounds could lead to, so that networks
    grow old as in a search.
    """
    if not kept.exists():
        made = []
        for asked in _made(registry):
            made.append(asked)
            if len(made) == count:
                break
        write_atomic(kept, "".join(dumps(asked.to_json()) + "\n" for asked in made))
    lines = kept.read_text().splitlines()[:count]
    return [Asked.from_json(json.loads(line)) for line in lines]


def _made(registry: Path) -> Iterator[Asked]:
    start, rng = Params.load(ROOT / "params.yaml").start, np.random.default_rng(0)
    with bench(registry) as workbench:
        known: dict[str, Tree] = {s.tree.id: s.tree for s in workbench.start(start) if isinstance(s.found, Profile)}
        number = 0
        while True:
            number += 1
            names = sorted(known)
            parents = [names[i] for i in rng.permutation(len(names))[:PARENTS]]
            wishes = Wishes(parents=tuple(parents), edits=2 * PLANS)
            options, _ = workbench.options(wishes, known, start=start, seed=(0, "questions", number))
            chosen = [options[i] for i in rng.permutation(len(options))[:PLANS]]
            asked, _ = workbench.questions([Plan.of(option, "drawn") for option in chosen], 0, number)
            for one in asked:
                if len(one.question.choices) > 1:
                    yield one
            for one in (asked[i] for i in rng.permutation(len(asked))[:PARENTS]):
                made = next(iter(one.children.values()))[0]
                known[made.tree.id] = made.tree
