"""Running a coroutine from plain code, wherever that code itself runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def run(make: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run the coroutine that `make` returns to its end, in a thread of its own where a loop is running already.

    Unlike `asyncio.run`, this does not wait for a name lookup that hangs: a deadline would not hold otherwise.
    """
    if not _in_loop():
        _run(make)
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_run, make).result()


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run(make: Callable[[], Coroutine[Any, Any, None]]) -> None:
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(make())
    finally:
        loop.run_until_complete(_cancel_others())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
