"""Tasks done side by side in forked copies of this process: they know what it knows, and it is told what they see.

Networks are built and observed in Python, where threads do not help, and what was seen so far is large: a copy has it
for nothing. What a copy sees anew of subtrees comes back with its results, and is known to the copies that are made
next. Copies are in the same sandbox, and run the same mined code: they are believed no less than this process is.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import io
import os
import pickle
import signal
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn, TypeVar

from llmastool import errors, sandbox
from llmastool.errors import LLMasToolError
from llmastool.proposals.trials import Trials
from llmastool.registry.store import Entry
from llmastool.trees.observe import Network

T = TypeVar("T")

_PIPE_BYTES = 1 << 20
"""How much a copy can tell before it is listened to, in bytes: it works on until then."""


@dataclass(frozen=True)
class _Copy:
    """A forked copy, and what it tells."""

    pid: int
    told: BinaryIO

    def end(self) -> None:
        """End it, wherever it is."""
        with suppress(ProcessLookupError, ChildProcessError):  # where it was followed, it is gone
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.told.close()


class Crew:
    """Does tasks in so many processes. Their number changes how long that takes, and nothing of what comes of it."""

    def __init__(self, trials: Trials, processes: int, known: Iterable[Network]) -> None:
        """Say with what is worked.

        Args:
            trials: tries networks out for the tasks. Where they measure more of each, all is done in this process:
                PyTorch computes no gradients in a copy of one that did.
            processes: how many copies there are at once; with 1 there is none, and tasks are done here.
            known: networks that need not be told back as a whole.
        """
        self._trials = trials
        self._processes = processes if trials.measure is None else 1
        self._known = {network.tree.id: network for network in known}

    def results(self, tasks: Sequence[Callable[[], T]]) -> Generator[T, None, None]:
        """Yield what tasks return, in their order. They draw from generators of their own and change nothing else.

        Where a copy dies of a task, this process does too, in the same way, after it said what was tried: whoever
        started it knows what to leave out. Close the iterator to leave what is left of the tasks undone.

        Raises:
            LLMasToolError: a task raised it.
        """
        copies = min(self._processes, len(tasks))
        crew = self._crew(tasks, copies) if copies > 1 else []
        if not crew:
            yield from (task() for task in tasks)
            return
        try:
            for number in range(len(tasks)):
                yield self._result(crew[number % copies])
        finally:
            for copy in crew:
                copy.end()

    # -- on this side --------------------------------------------------------------------------------------------

    def _crew(self, tasks: Sequence[Callable[[], T]], number: int) -> list[_Copy]:
        """Return so many copies, each at its share of the tasks; none where the system does not allow as many."""
        crew: list[_Copy] = []
        try:
            for first in range(number):
                crew.append(self._copy(tasks[first::number]))
        except OSError as error:
            for copy in crew:
                copy.end()
            warnings.warn(f"networks are built one after another, not by {number} processes: {error}", stacklevel=3)
            return []
        return crew

    def _copy(self, tasks: Sequence[Callable[[], T]]) -> _Copy:
        told, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(told)
            self._work(tasks, tell)
        os.close(tell)
        with suppress(PermissionError):  # where all pipes of a user together may hold less, it waits sooner
            fcntl.fcntl(told, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return _Copy(pid, os.fdopen(told, "rb"))

    def _result(self, copy: _Copy) -> Any:
        while True:
            try:
                match self._heard(copy):
                    case "trying", name:
                        self._trials.trying(name)
                    case "seen", parts, counts:
                        self._trials.catalog.parts.take(parts)
                        self._trials.count(counts)
                    case "raised", kind, message:
                        raise errors.from_name(kind, message)
                    case "done", result:
                        return result
            except (EOFError, pickle.UnpicklingError):
                sandbox.follow(copy.pid)

    def _heard(self, copy: _Copy) -> Any:
        return _Unpickler(copy.told, self._network, self._trials).load()

    def _network(self, tree: Any) -> Network:
        """Return the network of a known id, or of a tree; that it is observed costs nothing, a copy did it."""
        if isinstance(tree, str):
            return self._known[tree]
        if tree.id not in self._known:
            self._known[tree.id] = Network(tree, self._trials.catalog, self._trials.in_shape)
        return self._known[tree.id]

    # -- in a copy -----------------------------------------------------------------------------------------------

    def _work(self, tasks: Sequence[Callable[[], T]], tell: int) -> NoReturn:
        """Do tasks, one after another, and leave without returning."""
        status = 1
        try:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            gc.freeze()  # what is there stays, and stays shared
            with os.fdopen(tell, "wb") as pipe:
                self._trials.trying = lambda name: self._tell(pipe, "trying", name)
                for task in tasks:
                    self._do(task, pipe)
            status = 0
        except BaseException:  # noqa: BLE001 - a copy must not go on as if it were the process that it was made from
            traceback.print_exc()
        finally:
            os._exit(status)

    def _do(self, task: Callable[[], T], pipe: BinaryIO) -> None:
        parts, counts = self._trials.catalog.parts, Counter(self._trials.counts)
        made = parts.made
        try:
            last: tuple[Any, ...] = ("done", task())
        except LLMasToolError as error:
            last = ("raised", type(error).__name__, str(error))
        # First, as what is done is made of it.
        self._tell(pipe, "seen", parts.newest(parts.made - made), Counter(self._trials.counts) - counts)
        self._tell(pipe, *last)

    def _tell(self, pipe: BinaryIO, *what: Any) -> None:
        text = io.BytesIO()
        _Pickler(text, self._known).dump(what)
        pipe.write(text.getbuffer())
        pipe.flush()


class _Pickler(pickle.Pickler):
    """Writes networks as their trees, and registered modules by their ids: the other side has the rest."""

    def __init__(self, file: BinaryIO | io.BytesIO, known: dict[str, Network]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._known = known

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, Network):
            return "network", obj.tree.id if obj.tree.id in self._known else obj.tree
        return ("entry", obj.module) if isinstance(obj, Entry) else None


class _Unpickler(pickle.Unpickler):
    """Reads what `_Pickler` wrote."""

    def __init__(self, file: BinaryIO, network: Callable[[Any], Network], trials: Trials) -> None:
        super().__init__(file)
        self._network, self._registry = network, trials.catalog.registry

    def persistent_load(self, pid: Any) -> Any:
        kind, what = pid
        if kind == "network":
            return self._network(what)
        assert self._registry is not None, "an entry is one of a registry"
        return self._registry.entries[what]
