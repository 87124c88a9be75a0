"""Python's garbage, collected by a thread that nobody waits for."""

from __future__ import annotations

import gc
import threading
import time

EVERY_SECONDS = 1.0
"""How long garbage lies, at least."""


def collect_aside() -> None:
    """Have garbage collected by a thread of its own from now on. What is there already stays for ever.

    Python collects garbage in whichever thread happens to make objects. In a server, that may be the one which serves
    all requests; and where a statement of SQLite is among the garbage, it waits for the connection that the statement
    belongs to. If that one waits for another which writes, whose next step is the server's, nobody moves until the
    first gives up: in Prefect's server, a minute later.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    threading.Thread(target=_collect, name="garbage", daemon=True).start()


def _collect() -> None:
    while True:
        time.sleep(EVERY_SECONDS)
        gc.collect()
