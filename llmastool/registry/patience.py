"""Give up on foreign code that takes too long, inside the process in which it runs, so that the next guess is tried.

The sandbox's own limits end the whole process. This ends one call, where it lets itself be ended.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_AGAIN = 0.5
"""CPU seconds after which code that caught the exception is told once more."""


class TookTooLong(Exception):  # noqa: N818 - an observation about a module
    """A call used more time than it was given."""


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Raise `TookTooLong` in the code of the block once it has used so much CPU time.

    It is raised between two steps of the interpreter, so a long operation of PyTorch ends first. Only the main thread
    of a process can be told; elsewhere there is no limit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_: int, __: FrameType | None) -> None:
        raise TookTooLong(f"it used more than {seconds:g} s of CPU time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)
