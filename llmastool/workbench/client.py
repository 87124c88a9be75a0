"""The workbench seen from outside: it is started when it is first needed, and again when mined code has ended it."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
import tempfile
import warnings
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Self

from llmastool import errors, sandbox
from llmastool.canonical import Json, dumps
from llmastool.errors import ConfigError, LLMasToolError, RegistryError, SandboxError
from llmastool.outcome import Gate
from llmastool.planner.plan import Option, Plan, Wishes
from llmastool.proposals.asked import Asked
from llmastool.seeds import Seed
from llmastool.start_config import StartConfig
from llmastool.trees.budget import Budget, Fell
from llmastool.trees.profile import Profile, Shape
from llmastool.trees.tree import Tree

SILENCE = 60.0
"""Seconds without a word after which the process is taken to hang."""

MEMORY_GB = 4.0
"""Memory of the process on top of what PyTorch maps, in GiB. Networks on the meta device need little."""

_MOST_DEATHS = 20
"""Edits and networks of one round that may end the process before the round is given up."""


class Died(LLMasToolError):  # noqa: N818 - a result, not a fault of the program
    """The process ended, or said nothing for too long."""

    def __init__(self, message: str, trying: str | None) -> None:
        super().__init__(message)
        self.trying = trying


@dataclass(frozen=True)
class Start:
    """A network of the start population."""

    name: str
    tree: Tree
    found: Profile | Fell
    """Its profile, or the gate at which it fell."""


class Workbench:
    """Builds, observes and edits trees in a sandboxed process. Mined code runs there, never here."""

    def __init__(
        self,
        registry: Path | None,
        in_shape: Shape,
        classes: int = 1,
        budget: Budget | None = None,
        proxies: Sequence[str] = (),
        processes: int = 1,
    ) -> None:
        """Say what the trees are about; nothing is started yet.

        Args:
            registry: folder of the registry; None for trees of PyTorch's modules and our own.
            in_shape: `(batch, channels, height, width)` of an input.
            classes: number of classes.
            budget: how large a network may be.
            proxies: what is worked out of every network beside its costs (`llmastool.training.proxies`).
            processes: how many try edits side by side; what comes of them does not depend on it.
        """
        self.registry = registry.resolve() if registry is not None else None
        self.setup: Json = {
            "registry": str(self.registry) if registry is not None else None,
            "in_shape": list(in_shape),
            "classes": classes,
            "budget": asdict(budget or Budget()),
            "memory_gb": MEMORY_GB,
            "proxies": list(proxies),
            "processes": processes,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._end: weakref.finalize[..., Workbench] | None = None
        self._unread = b""
        self._options: Json = None
        self._skip: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Start the process before anything is asked of it: it takes seconds to load PyTorch.

        Raises:
            RegistryError: there is no registry.
        """
        if self._process is None:
            self._begin()

    def close(self) -> None:
        """End the process, if there is one. The next request starts another."""
        if self._end is not None:
            self._end()
        self._process, self._log, self._unread, self._end = None, None, b"", None

    def start(self, config: StartConfig) -> list[Start]:
        """Return the start population.

        Raises:
            ConfigError: a network of it is unknown, cannot be adapted, or ends the process that builds it.
        """
        try:
            made = self._ask({"do": "start", "config": asdict(config)})
        except Died as died:
            raise ConfigError(f"start: {died}; leave out the network that does that") from None
        return [Start(m["name"], Tree.from_json(m["tree"]), _found(m)) for m in made]

    def check(self, tree: Tree) -> Profile | Fell:
        """Return a tree's profile, or the gate before training at which it falls."""
        try:
            return _found(self._ask({"do": "check", "tree": tree.to_json()}))
        except Died as died:
            return Fell("crash", str(died))

    def look(self, tree: Tree) -> Profile:
        """Return a tree's profile, whatever its size and output.

        Raises:
            TreeError: it cannot be built, or does not take the input.
            RegistryError: the registry is missing, or lacks a module.
            Died: its code ended the process.
        """
        return Profile.from_json(self._ask({"do": "look", "tree": tree.to_json()}))

    def options(
        self,
        wishes: Wishes,
        known: Mapping[str, Tree],
        *,
        start: StartConfig,
        seed: Seed,
        budget: Budget | None = None,
    ) -> tuple[list[Option], Mapping[str, int]]:
        """Return the options that a strategy wishes for, and how many networks were looked at, by where they fell.

        Every option is shown through a network that passed the gates before training. There are fewer of a sort than
        wished for where not so many were found. What ends the process falls at `crash`.

        Args:
            wishes: what is wished for; parents are trees that passed the gates. The first edit of a pair is one of
                the single edits, so that there are no pairs without these.
            known: by id, the trees that were proposed already, the parents among them; none is offered again.
            start: the start population, which networks drawn anew begin with.
            seed: what the random draws are derived from; see `seeds.generator`.
            budget: how large an option may be; as large as any network if not given.
        """
        self._options = {
            "do": "options",
            "parents": [known[parent].to_json() for parent in wishes.parents],
            "wishes": {"edits": wishes.edits, "doubles": wishes.doubles, "fresh": wishes.fresh},
            "start": asdict(start),
            "seen": sorted(known),
            "seed": list(seed),
            "budget": asdict(budget) if budget is not None else self.setup["budget"],
        }
        self._skip = []
        found = self._persist([])
        return [
            Option(**{**option, "profile": Profile.from_json(option["profile"])}) for option in found["options"]
        ], found["counts"]

    def questions(self, plans: Sequence[Plan], seed: int, round: int) -> tuple[list[Asked], Mapping[str, int]]:
        """Return what plans over the last options leave open, and the counts of all networks that were looked at."""
        request = {"do": "questions", "plans": [p.to_json() for p in plans], "seed": seed, "round": round}
        found = self._persist([request])
        return [Asked.from_json(asked) for asked in found["asked"]], found["counts"]

    def _persist(self, then: Sequence[Json]) -> Json:
        """Ask for the options, and what follows on them, again and again without what ends the process.

        Where the process that made the options lives on, only what follows is asked.
        """
        alive = self._process is not None and bool(then)
        while True:
            requests = [*([] if alive else [{**self._options, "skip": self._skip}]), *then]
            try:
                return [self._ask(request) for request in requests][-1]
            except Died as died:
                if died.trying is None or len(self._skip) == _MOST_DEATHS:
                    raise SandboxError(f"edits could not be tried, {len(self._skip)} left out: {died}") from None
                warnings.warn(f"an edit is left out: {died}", stacklevel=4)
                self._skip.append(died.trying)
                alive = False

    def _ask(self, request: Json) -> Json:
        """Return the answer to a request.

        Raises:
            LLMasToolError: what the process said cannot be done.
            Died: it ended.
        """
        process = self._process or self._begin()
        assert process.stdin is not None
        trying: str | None = None
        try:
            process.stdin.write(dumps(request).encode() + b"\n")
            process.stdin.flush()
            while "trying" in (said := self._line()):
                trying = str(said["trying"])
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            tail = self._last_words()
            self.close()
            raise Died(f"the process that builds networks {error or 'ended'}{tail}", trying) from None
        if "error" in said:
            raise errors.from_name(str(said["error"]), str(said["message"]))
        return said["answer"]

    def _begin(self) -> subprocess.Popen[bytes]:
        readable = [self.registry] if self.registry is not None else []
        if self.registry is not None and not self.registry.is_dir():
            raise RegistryError(f"{self.registry}: expected a registry, found no such folder; run `dvc repro registry`")
        argv = sandbox.command([sys.executable, "-m", "llmastool.workbench.worker"], readable=readable)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env=sandbox.environment()
        )
        self._end = weakref.finalize(self, _end, self._process, self._log)
        assert self._process.stdin is not None
        self._process.stdin.write(dumps(self.setup).encode() + b"\n")
        return self._process

    def _line(self) -> Json:
        """Return the next thing that the process says.

        Raises:
            EOFError: it ended.
            TimeoutError: it says nothing.
            ValueError: it says something else than JSON.
        """
        assert self._process is not None and self._process.stdout is not None
        while b"\n" not in self._unread:
            if not select.select([self._process.stdout], [], [], SILENCE)[0]:
                raise TimeoutError(f"said nothing for {SILENCE:.0f} seconds")
            part = self._process.stdout.read1(1 << 20)  # type: ignore[attr-defined]
            if not part:
                raise EOFError("ended")
            self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        said = json.loads(line)
        if not isinstance(said, dict):
            raise ValueError("said what it should not")
        return said

    def _last_words(self) -> str:
        assert self._process is not None and self._log is not None
        self._process.kill()
        status = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return f" (status {status}{': ' + lines[-1][:200] if lines else ''})"


def _end(process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, log):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):  # what it was not told any more
                stream.close()


def _found(value: Json) -> Profile | Fell:
    if "gate" in value:
        gate: Gate = value["gate"]
        return Fell(gate, value["message"])
    return Profile.from_json(value["profile"])
