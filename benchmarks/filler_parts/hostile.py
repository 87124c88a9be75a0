"""Searches with an endpoint that goes wrong in every way, and what asking side by side takes."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from benchmarks.searches import DIGITS, Arm, evaluated
from llmastool.canonical import Json
from llmastool.filler.choose import make_filler
from llmastool.filler.config import FillerConfig
from llmastool.proposals.asked import Asked
from tests.filler.server import Backend, answer, completion, drip, fixed, hang, serve, well

Reply = Callable[[Backend, BaseHTTPRequestHandler, dict[str, Any]], None]

DEADLINE = 3.0
"""Seconds that a question may take in these searches."""


def _later(_: Backend, handler: BaseHTTPRequestHandler, __: dict[str, Any]) -> None:
    """Refuse, and ask for patience that nobody has."""
    handler.send_response(429)
    handler.send_header("Retry-After", "3600")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def fickle(backend: Backend, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
    """Go wrong in another way each time, and answer in between."""
    turn = len(backend.requests) % len(_EVERY)
    _EVERY[turn](backend, handler, request)


HUGE = b'{"choices": [' + b"[" * (3 << 20)

CASES: Mapping[str, Reply | None] = {
    "down": None,
    "slow drip": drip,
    "silence": hang,
    "status 429": fixed("{}", status=429),
    "status 429, retry in an hour": _later,
    "status 500": fixed("oops", status=500),
    "status 401": fixed("{}", status=401),
    "a page in HTML": fixed("<html>log in</html>", kind="text/html"),
    "cut JSON": fixed(answer("A")[:80]),
    "wrong letter": fixed(answer("Z")),
    "huge reply": fixed(HUGE),
    "huge rationale": fixed(answer("A", "x" * 400_000)),
    "wrong types": fixed(completion('{"rationale": 1, "choice": ["A"]}')),
    "no choices": fixed('{"choices": []}'),
    "prose": fixed(completion("I would take the attention.")),
    "instructions of a docstring obeyed": fixed(completion("import os; os.system('true')")),
    "another failure every time": fickle,
}

_EVERY: Sequence[Reply] = (
    well, fixed("oops", status=500), well, fixed(answer("Z")), well, fixed(answer("A")[:80]), fixed(HUGE),
)  # fmt: skip


def survived(work: Path, registry: Path, data: Path) -> Json:
    """Search with each hostile endpoint, and beside them with none.

    A search survives that proposes as many candidates as one with `rules`, in the time that its questions may take, and
    says of every answer who gave it and why that was not the LLM.
    """
    task = replace(DIGITS, recipe=replace(DIGITS.recipe, epochs=1))
    rows: Json = {}

    def run(config: FillerConfig) -> Json:
        params = task.params(Arm(filler=config), 0)
        params = replace(params, search=replace(params.search, rounds=2, pool=24, doubles=4, fresh=2))
        start = time.monotonic()
        entries, rounds = evaluated(params, registry, data, work)
        fills = [e.candidate.fill for e in entries if e.candidate.fill is not None]
        return {
            "candidates": len(entries),
            "trained": sum(e.outcome.ok for e in entries),
            "answers": dict(Counter(fill["filler"] for fill in fills)),
            "reasons": dict(Counter(fill["fallback"] for fill in fills if fill["fallback"])),
            "slowest_round_of_questions": max(rounds),
            "seconds": time.monotonic() - start,
        }

    usual = run(FillerConfig(kind="rules"))
    for name, reply in CASES.items():
        if reply is None:
            rows[name] = run(_config("http://127.0.0.1:9/v1"))
        else:
            with serve(reply) as backend:
                rows[name] = run(_config(backend.url))
        row = rows[name]
        by_rules, told = row["answers"].get("rules", 0), sum(row["reasons"].values())
        on_time = row["slowest_round_of_questions"] < usual["slowest_round_of_questions"] + 4 * DEADLINE
        # Questions with one choice are answered by `rules` and need no reason.
        row["survived"] = row["candidates"] == usual["candidates"] and told <= by_rules and told > 0 and on_time
        print(f"{name}: {row['survived']}, {row['reasons']}", flush=True)
    return {"rules": usual, "cases": rows, "survived": sum(row["survived"] for row in rows.values())}


def _config(url: str) -> FillerConfig:
    return FillerConfig(kind="openai", base_url=url, model="m", timeout_seconds=DEADLINE, retries=1)


def overhead(asked: Sequence[Asked], work: Path, repeats: int) -> Json:
    """Ask rounds of eight questions whose answers take from 1 to 2 seconds; compare a round with its slowest one."""
    ratios = []
    for number in range(repeats):
        rng = random.Random(number)
        times = [rng.uniform(1.0, 2.0) for _ in range(8)]
        waiting = list(times)

        def slow(
            _: Backend, handler: BaseHTTPRequestHandler, request: dict[str, Any], waiting: list[float] = waiting
        ) -> None:
            time.sleep(waiting.pop())
            well(_, handler, request)

        some = asked[8 * number : 8 * number + 8]
        with serve(slow) as backend:
            filler = make_filler(FillerConfig(kind="openai", base_url=backend.url, model="m"), work / f"{number}.jsonl")
            start = time.monotonic()
            fills = filler.fill([one.question for one in some])
            took = time.monotonic() - start
        assert not any(fill.fallback for fill in fills), "the server answers"
        ratios.append(took / max(times))
    return {"rounds": repeats, "questions": 8, "ratio_mean": sum(ratios) / repeats, "ratio_max": max(ratios)}
