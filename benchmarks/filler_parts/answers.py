"""What fillers answer: whether it builds, what it takes, and what an LLM prefers whatever it is asked."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.filler_parts.questions import bench
from llmastool.canonical import Json
from llmastool.filler.bias import biases
from llmastool.filler.choose import make_filler
from llmastool.filler.config import FillerConfig
from llmastool.filler.ledger import exchanges
from llmastool.filler.question import Fill
from llmastool.proposals.asked import Asked
from llmastool.trees.profile import Profile


@contextmanager
def answered(asked: Sequence[Asked], config: FillerConfig, ledger: Path) -> Iterator[list[Fill]]:
    """Have questions answered; what the ledger knows is not asked again."""
    filler = make_filler(config, ledger)
    try:
        yield filler.fill([one.question for one in asked])
    finally:
        filler.close()


def built(asked: Sequence[Asked], fills: Sequence[Fill], registry: Path) -> int:
    """Return how many answers lead to a network that passes the gates before training, in a process of its own."""
    count = 0
    with bench(registry) as workbench:
        for one, fill in zip(asked, fills, strict=True):
            made = one.made(fill)
            found = workbench.check(made.tree)
            count += isinstance(found, Profile) and found == made.profile
    return count


def filled(asked: Sequence[Asked], config: FillerConfig, ledger: Path, registry: Path) -> Json:
    """Have questions answered by one filler, build what comes of it, and return the figures."""
    start = time.monotonic()
    with answered(asked, config, ledger) as fills:
        seconds = time.monotonic() - start
    prompts = [fill.prompt_tokens for fill in fills if fill.prompt_tokens]
    times = [fill.seconds for fill in fills if fill.seconds]
    return {
        "fills": len(fills),
        "built": built(asked, fills, registry),
        "by": dict(Counter(fill.filler for fill in fills)),
        "fallbacks": dict(Counter(fill.fallback for fill in fills if fill.fallback).most_common(5)),
        "with_something_free": sum(any(c.free for c in one.question.choices) for one in asked),
        "values_picked": sum(fill.value > 0 for fill in fills),
        "prompt_tokens_median": statistics.median(prompts) if prompts else None,
        "prompt_tokens_max": max(prompts, default=None),
        "seconds_median": statistics.median(times) if times else None,
        "seconds": seconds,
        "bias": {what: bias.to_json(10) for what, bias in biases(exchanges(ledger)).items()},
    }


def mixed(asked: Sequence[Asked]) -> list[Asked]:
    """Return questions whose choices are of several families, made of the choices of others: they lead to nothing.

    In a search all choices are of the family that was planned; whether a model prefers families is seen only where it
    has several before it.
    """
    by_family: dict[str, list[Asked]] = {}
    for one in asked:
        by_family.setdefault(one.plan.family, []).append(one)
    found, families = [], sorted(by_family)
    for number in range(len(asked)):
        some = [families[(number * 7 + i) % len(families)] for i in range(min(6, len(families)))]
        picked = [by_family[family][number % len(by_family[family])].question.choices[0] for family in some]
        choices = tuple(replace(choice, key=chr(ord("a") + i), free=None) for i, choice in enumerate(picked))
        question = replace(asked[number].question, choices=choices)
        found.append(replace(asked[number], question=question))
    return found


def preferences(
    asked: Sequence[Asked], configs: Mapping[str, FillerConfig], counts: Mapping[str, int], ledgers: Path
) -> Json:
    """Return what an LLM prefers, by the way in which it is asked, each way with so many of the questions."""
    found: Json = {}
    for name, config in configs.items():
        ledger = ledgers / f"{name.replace(' ', '-')}.jsonl"
        with answered(asked[: counts[name]], config, ledger) as fills:
            fallbacks = sum(bool(fill.fallback) for fill in fills)
        measured = {what: bias.to_json(12) for what, bias in biases(exchanges(ledger)).items()}
        found[name] = {"questions": counts[name], "fallbacks": fallbacks, **measured}
    return found
