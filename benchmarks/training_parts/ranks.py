"""How well cheap proxies rank networks that were trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau, spearmanr

from benchmarks import searches
from benchmarks.searches import Arm, Task
from llmastool.archive import Entry
from llmastool.canonical import Json
from llmastool.training.data import prepare
from llmastool.training.proxies_config import NAMES, ProxiesConfig

_DRAWS = 1000


def correlations(task: Task, work: Path, networks: int) -> Json:
    """Train networks that a random search comes to, and return how proxies and sizes rank them.

    Spearman's and Kendall's rank correlation with the validation accuracy, with 90 % intervals over bootstrap draws of
    the networks.
    """
    params = task.params(Arm(strategy="random"), seed=0)
    rounds = -(-networks // params.search.per_round)
    params = replace(params, search=replace(params.search, rounds=rounds, proxies=ProxiesConfig(names=NAMES)))
    data = work / f"{task.data.name}-ranks"
    if not data.exists():
        prepare(task.data, data, 0)
    entries = searches.evaluated(params, searches.registered(work), data, work)[0]
    trained = [e for e in entries if e.accuracy is not None and e.profile is not None]
    measures: dict[str, Callable[[Entry], float | None]] = {
        **{name: lambda e, name=name: e.profile.extra.get(name) for name in NAMES},  # type: ignore[misc, union-attr]
        "parameters": lambda e: float(e.profile.parameters),  # type: ignore[union-attr]
        "flops": lambda e: float(e.profile.flops),  # type: ignore[union-attr]
    }
    found: Json = {"networks": len(entries), "trained": len(trained)}
    for name, measure in measures.items():
        pairs = [(value, e.accuracy) for e in trained if (value := measure(e)) is not None]
        found[name] = {"networks": len(pairs), **_ranked([(a, b) for a, b in pairs if b is not None])}
    return found


def _ranked(pairs: Sequence[tuple[float, float]]) -> Json:
    values, rng = np.array(pairs), np.random.default_rng(0)
    draws = [values[rng.integers(len(values), size=len(values))] for _ in range(_DRAWS)]
    found: Json = {}
    for name, measure in (("spearman", spearmanr), ("kendall", kendalltau)):
        drawn = [measure(d[:, 0], d[:, 1]).statistic for d in draws]
        found[name] = float(measure(values[:, 0], values[:, 1]).statistic)
        found[f"{name}_90"] = [float(q) for q in np.nanquantile(drawn, (0.05, 0.95))]
    return found
