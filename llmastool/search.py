"""The search, as ask and tell: plan, fill and edit make candidates; their outcomes move the next plans.

All that was decided and seen is in the event log of the run folder, and the state is rebuilt from it: a search that
was stopped anywhere goes on and ends with the archive that it would have had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Self

from llmastool import seeds
from llmastool.archive import Entry, write_archive
from llmastool.candidate import Candidate
from llmastool.canonical import Json, append_line, digest_bytes, read_lines
from llmastool.filler.bias import MOST_PREFERENCES, biases
from llmastool.filler.choose import make_filler
from llmastool.filler.ledger import exchanges
from llmastool.outcome import Outcome
from llmastool.outputs import Stamp, code_digest
from llmastool.planner.beliefs import Beliefs
from llmastool.planner.choose import make_strategy
from llmastool.planner.explain import edits
from llmastool.planner.history import tried
from llmastool.planner.plan import Record
from llmastool.planner.planner import Planner
from llmastool.progress import Progress, epochs, proposed
from llmastool.proposals.asked import Asked
from llmastool.proposals.promising import promising
from llmastool.registry.store import Registry
from llmastool.training.data import load_meta
from llmastool.training.job import Job, Parent, abandon
from llmastool.training.process import WEIGHTS
from llmastool.trees.budget import Fell
from llmastool.trees.profile import BATCH
from llmastool.workbench.client import Workbench

if TYPE_CHECKING:
    from llmastool.params import Params


class Search:
    """One search in one run folder. `ask`, evaluate, `tell`, until `done`."""

    def __init__(self, params: Params, registry: Path, data: Path, run: Path) -> None:
        self.params, self.registry, self.data, self.run = params, registry, data, run
        self.meta = load_meta(data)
        self.bench = Workbench(
            registry,
            (BATCH, *self.meta["shape"]),
            self.meta["classes"],
            params.budget,
            params.search.proxies.names,
            params.search.builders(),
        )
        self.strategy = make_strategy(params)
        self.filler = make_filler(params.filler, self._ledger)
        halving = params.search.halving
        self._progress = Progress((*halving.rungs, params.training.recipe.epochs), halving)
        self._folders: dict[str, Path] = {}
        for event in read_lines(self._log):
            self._progress.take(event)

    @staticmethod
    def open(params: Params, registry: Path, data: Path, run: Path) -> Search:
        """Return the search of a run folder, new or as far as it came.

        Args:
            params: all parameters.
            registry: folder of the registry.
            data: folder of the prepared image set.
            run: the run folder.

        Raises:
            RegistryError: the registry is missing or empty.
            DataError: the image set was not prepared.
        """
        Registry.open(registry)
        return Search(params, registry, data, run)

    def __enter__(self) -> Self:
        if not self.done:
            self.bench.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes in which trees are edited and questions answered."""
        self.bench.close()
        self.filler.close()

    @property
    def done(self) -> bool:
        """Whether all rounds are evaluated."""
        return self.round > self.params.search.rounds

    @property
    def round(self) -> int:
        """The round that is under way; 0 is the start population."""
        return self._progress.round

    def ask(self) -> list[Candidate]:
        """Return the candidates of the round under way that are still to be evaluated, proposing them if need be.

        Candidates that fall at a gate before training have their outcome already and are not among them.
        """
        number = len(self._progress.rounds)
        if not self.done and self.round == number:
            self._write({"event": "asked", **self._proposals(number)})
        return self._progress.waiting()

    @property
    def ahead(self) -> int | None:
        """The round that is to be planned while the one before it trains, where `search.ahead` asks for that."""
        number, config = len(self._progress.rounds), self.params.search
        return number if config.ahead and 1 < number <= config.rounds and not self._progress.planned else None

    def ask_ahead(self) -> None:
        """Plan that round, if there is one; `ask` then returns its candidates at once."""
        if (number := self.ahead) is not None:
            self._write({"event": "planned", **self._evolve(number)})

    def prepare(self) -> None:
        """Begin what is needed later whatever comes of this round, beside its trainings."""
        config = self.params.search
        if isinstance(self.strategy, Planner):
            later = (config.rounds - self.round) * config.per_round
            self.strategy.prepare(len(self._progress.candidates()) + later, rungs=bool(config.halving.rungs))

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Take in what became of candidates. What is known already is not taken twice."""
        known = self._progress.outcomes
        for outcome in outcomes:
            if epochs(outcome) > epochs(known.get(outcome.candidate)):
                self._write({"event": "told", "outcome": outcome.to_json()})
        for candidate in self._progress.last():
            found = known.get(candidate.id)
            if found is not None and found.gate == "stopped" and self.settled(candidate):
                abandon(self.trial_folder(candidate))

    def job(self, candidate: Candidate) -> Job:
        """Return the training that evaluates a candidate. It sees train and validation data only."""
        config = self.params.training
        job_seed = seeds.derive(self.params.seed, "training")
        return Job(
            tree=candidate.tree,
            registry=self.registry,
            data=self.data,
            recipe=config.recipe,
            seed=job_seed,
            until=self._progress.until,
            device=config.device,
            threads=config.threads,
            compile=config.compile,
            keep_weights=config.inherit,
            parent=self._parent(candidate) if config.inherit else None,
        )

    def _parent(self, candidate: Candidate) -> Parent | None:
        """Return the trained network that a candidate was made from."""
        outcome = self._progress.outcomes.get(candidate.parent or "")
        if outcome is None or not outcome.ok:
            return None
        parent = next(c for c in self._progress.candidates() if c.id == candidate.parent)
        weights = self.trial_folder(parent) / WEIGHTS
        return Parent(tree=parent.tree, key=self.job(parent).key, weights=weights)

    def trial_folder(self, candidate: Candidate) -> Path:
        """Return the folder of a candidate's training; its name says which candidate and which job."""
        if candidate.id not in self._folders:
            self._folders[candidate.id] = self.run / "trials" / f"{candidate.name}-{self.job(candidate).key[:8]}"
        return self._folders[candidate.id]

    def settled(self, candidate: Candidate) -> bool:
        """Whether what became of a candidate is the last of it: it is not trained on."""
        return self._progress.settled(candidate)

    def entries(self) -> list[Entry]:
        """Return all evaluated candidates, in the order in which they were proposed."""
        return self._progress.entries()

    def records(self) -> list[Record]:
        """Return the same as a strategy is told of it; times, which differ from run to run, only where it asks."""
        return self._progress.records(timed=self.params.planner.per_second)

    def write(self, out: Path) -> None:
        """Write `archive.json`, `metrics.json` and `candidates.csv` into a folder.

        Where they were written from the same events by the same code, and nobody changed them since, they stay.
        """
        folder = Path(__file__).parent
        code = [code_digest(path) for path in (folder, folder / "planner", folder / "filler", folder / "trees")]
        stamp = Stamp(self.run, out, [*code, digest_bytes(self._log.read_bytes())])
        if stamp.holds():
            return
        reports = [{"round": i, **told} for i, told in enumerate(self._progress.rounds) if i]
        records = self.records()
        beliefs = self.strategy.beliefs(records) if isinstance(self.strategy, Planner) else None
        explained, estimates = _explained(beliefs, records), beliefs.estimates() if beliefs else {}
        bias = {what: found.to_json(MOST_PREFERENCES) for what, found in biases(exchanges(self._ledger)).items()}
        write_archive(out, self.entries(), self.params.seed, self.meta, reports, explained, estimates, bias)
        stamp.set()

    # -- what happens in a round ---------------------------------------------------------------------------------

    def _proposals(self, number: int) -> Json:
        """Return what an event says of the round that comes next: nothing where it was planned ahead."""
        if self._progress.planned:
            return {}
        return self._evolve(number) if number else self._start()

    def _start(self) -> Json:
        candidates, fallen = [], []
        for index, start in enumerate(self.bench.start(self.params.start)):
            candidate = Candidate(
                tree=start.tree, round=0, index=index, parent=None, change=start.name, plan=None, fill=None
            )
            if isinstance(start.found, Fell):
                candidates.append(proposed(candidate, None))
                outcome = Outcome(candidate=candidate.id, gate=start.found.gate, message=str(start.found))
                fallen.append(outcome.to_json())
            else:
                candidates.append(proposed(candidate, start.found))
        return {"candidates": candidates, "fallen": fallen}

    def _evolve(self, number: int) -> Json:
        """Plan a round, have it filled, and return it as an event."""
        config, seed, progress = self.params.search, self.params.seed, self._progress
        # A round that may be planned ahead looks no further than it could then: it is the same, whenever it is planned.
        seen = number - 1 if config.ahead and number > 1 else number
        records = progress.records(timed=self.params.planner.per_second, before=seen)
        known = {c.id: c.tree for c in progress.candidates()}
        wishes = self.strategy.wishes(records, config.per_round, round=number)
        wishes = replace(wishes, edits=min(wishes.edits, config.pool))
        budget = self.params.budget.grown_from(p.flops for _, p in progress.start() if p is not None)
        options, _ = self.bench.options(
            wishes, known, start=self.params.start, seed=(seed, "pool", number), budget=budget
        )
        options = promising(options, config.proxies)
        planner, beliefs = self.strategy if isinstance(self.strategy, Planner) else None, None
        if planner is None:
            plans, report = self.strategy.plan(records, options, config.per_round, round=number)
        else:
            pending = progress.pending(since=seen)
            plans, report, beliefs = planner.decide(records, options, config.per_round, round=number, pending=pending)
        asked, counts = self.bench.questions(plans, seed, number)
        asked = [a.told(tried(a.plan, records)) for a in asked]
        if planner is not None and beliefs is not None and self.params.filler.kind == "posterior":
            asked = _weighed(asked, planner.worth(records, [o for a in asked for o in a.options()], beliefs))
        fills = self.filler.fill([a.question for a in asked])
        made = [
            proposed(a.candidate(fill, number, index), a.made(fill).profile)
            for index, (a, fill) in enumerate(zip(asked, fills, strict=True))
        ]
        return {"candidates": made, "fallen": [], "report": report.to_json(), "pool": dict(counts)}

    @cached_property
    def _log(self) -> Path:
        return self.run / "events.jsonl"

    @cached_property
    def _ledger(self) -> Path:
        return self.run / "fills.jsonl"

    def _write(self, event: Json) -> None:
        append_line(self._log, event)
        self._progress.take(event)


def _weighed(asked: Sequence[Asked], worths: Sequence[float]) -> list[Asked]:
    """Return questions with what the planner expects of all their choices, one after another."""
    rest = iter(worths)
    return [a.weighed(list(islice(rest, len(a.options())))) for a in asked]


def _explained(beliefs: Beliefs | None, records: Sequence[Record]) -> Json:
    """Return what paid: families, modules and motifs by the posterior, edits by what came of them."""
    found = beliefs.paid() if beliefs else {}
    found |= {f"edits by {key}": effects for key, effects in edits(records).items()}
    return {key: [effect.to_json() for effect in effects] for key, effects in found.items()}
