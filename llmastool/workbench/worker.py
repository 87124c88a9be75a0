"""The workbench seen from inside: `python -m llmastool.workbench.worker` reads requests and writes answers as lines.

Building and observing a network runs its mined code, so this process runs in the sandbox, under limits. Before an edit
or a network drawn anew is tried, its name is said: should the process die of it, the other side knows of which.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import TextIO

from llmastool import seeds
from llmastool.canonical import Json
from llmastool.config import from_mapping
from llmastool.errors import LLMasToolError
from llmastool.planner.plan import Option, Plan
from llmastool.proposals.fresh import Fresh
from llmastool.proposals.pool import Pool
from llmastool.proposals.questions import questions_for
from llmastool.proposals.trials import Trials
from llmastool.registry.capture import watching
from llmastool.sandbox import GIB, Limits, virtual_memory
from llmastool.start import mined_population, population
from llmastool.start_config import StartConfig
from llmastool.trees.budget import Budget, Fell
from llmastool.trees.catalog import Catalog
from llmastool.trees.front import ready
from llmastool.trees.gates import check
from llmastool.trees.moves import Moves
from llmastool.trees.observe import Network
from llmastool.trees.tree import Tree
from llmastool.workbench.measure import Measure

_CPU_SECONDS = 7 * 24 * 3600
"""CPU time of the whole process. A request that hangs is ended from outside."""


class Bench:
    """What one process knows: networks that were observed, what fits where, and the pool of the round."""

    def __init__(self, setup: Json, say: Callable[[Json], None]) -> None:
        self.catalog = Catalog.open(Path(setup["registry"]) if setup["registry"] is not None else None)
        self.in_shape = tuple(setup["in_shape"])
        self.classes = setup["classes"]
        self.budget = Budget(**setup["budget"])
        names = setup["proxies"]
        self.processes = setup["processes"]
        self.measure = Measure(self.catalog, self.in_shape, self.classes, names) if names else None
        self.say = say
        self._networks: dict[str, Network] = {}
        self._pool: Pool | None = None
        self._adapted: tuple[StartConfig, list[tuple[str, Tree]]] | None = None

    @cached_property
    def moves(self) -> Moves:
        """What can be done to networks."""
        return Moves(self.catalog)

    def do(self, request: Json) -> Json:
        """Do what a request asks for.

        Raises:
            LLMasToolError: it cannot be done.
        """
        match request.pop("do"):
            case "start":
                return self.start(**request)
            case "check":
                return self.check(Tree.from_json(request["tree"]))
            case "look":
                return Network(Tree.from_json(request["tree"]), self.catalog, self.in_shape).profile.to_json()
            case "options":
                return self.options(**request)
            case "questions":
                return self.questions(**request)
        raise AssertionError(request)

    def start(self, config: Json) -> Json:
        """Return the start population: name, tree, and what `check` says of each."""
        made = population(from_mapping(StartConfig, config, "start"), self.catalog, self.in_shape, self.classes)
        return [{"name": name, "tree": tree.to_json(), **self.check(tree)} for name, tree in made]

    def check(self, tree: Tree) -> Json:
        """Return a tree's profile, or the gate at which it falls and why."""
        try:
            return {"profile": self._network(tree).profile.to_json()}
        except Fell as fell:
            return {"gate": fell.gate, "message": str(fell)}

    def options(
        self,
        parents: list[Json],
        wishes: dict[str, int],
        start: Json,
        seen: list[str],
        seed: seeds.Seed,
        budget: Json,
        skip: list[str],
    ) -> Json:
        """Make the round's pool; return options as they are wished for, and what became of all that was tried."""
        networks = [self._network(Tree.from_json(tree)) for tree in parents]
        trials = Trials(
            self.catalog,
            self.in_shape,
            self.classes,
            Budget(**budget),
            seen=seen,
            skip=skip,
            trying=lambda name: self.say({"trying": name}),
            measure=self.measure,
        )
        config = from_mapping(StartConfig, start, "start")
        mined = self._mined(config) if wishes["fresh"] else []
        fresh = Fresh(config.skeletons, mined, self.moves, trials)
        self._pool = Pool(networks, self.moves, trials, fresh, seed, self.processes)
        found = [_option(option) for option in self._pool.options(**wishes)]
        return {"options": found, "counts": trials.counts}

    def questions(self, plans: list[Json], seed: int, round: int) -> Json:
        """Return the questions that plans over the round's options leave open, and the pool's counts."""
        assert self._pool is not None
        asked = questions_for([Plan(**plan) for plan in plans], self._pool, seed, round)
        return {"asked": [a.to_json() for a in asked], "counts": self._pool.trials.counts}

    def _mined(self, config: StartConfig) -> list[tuple[str, Tree]]:
        """Return the mined networks of the start population, adapted once for all rounds."""
        if self._adapted is None or self._adapted[0] != config:
            self._adapted = config, mined_population(config, self.catalog, self.in_shape, self.classes)
        return self._adapted[1]

    def _network(self, tree: Tree) -> Network:
        if tree.id not in self._networks:
            self._networks[tree.id] = check(tree, self.catalog, self.in_shape, self.classes, self.budget, self.measure)
        return self._networks[tree.id]


def _option(option: Option) -> Json:
    values = {field.name: getattr(option, field.name) for field in fields(option)}
    return {**values, "profile": option.profile.to_json()}


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer requests until there are no more. The first line says what all of them are about."""

    def say(value: Json) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    setup = json.loads(requests.readline())
    memory = virtual_memory() + int(setup["memory_gb"] * GIB)
    Limits(memory_bytes=memory, cpu_seconds=_CPU_SECONDS).apply()
    bench: Bench | None = None
    for line in requests:
        try:
            bench = bench or Bench(setup, say)
            say({"answer": bench.do(json.loads(line))})
        except LLMasToolError as error:
            say({"error": type(error).__name__, "message": str(error)})


def main() -> None:
    """Serve on the standard streams, and leave none of them to mined code."""
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    with watching(), ready():
        serve(requests, answers)


if __name__ == "__main__":
    main()
