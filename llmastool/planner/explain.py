"""After a search: which families, modules and motifs paid, by the posterior, and which edits, by what came of them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve

from llmastool.planner.archive import accuracies
from llmastool.planner.kernels import covariances
from llmastool.planner.plan import Record
from llmastool.planner.posterior import Posterior
from llmastool.planner.report import Effect
from llmastool.planner.space import Coordinates, FeatureSpace
from llmastool.planner.table import Floats, View

GROUPS = ("family", "module", "motif")
"""Groups of features whose worth is asked for."""

MOST = 40
"""Features of a group that are looked at, those that about half of the networks hold first; and networks for each."""

FEWEST = 2
"""Networks that must hold a feature, and as many that must not."""


def paid(posterior: Posterior, view: View) -> dict[str, list[Effect]]:
    """Return what families, modules and motifs are worth, the best first, by group.

    The worth of one is the mean difference that it makes to the networks which hold it: that of the noise-free accuracy
    with it and without it, all else alike, costs included; with a family go its modules. It holds near the best
    networks: below the median, where accuracies are warped, it is more.

    Args:
        posterior: what is believed.
        view: names of the features that it was fitted to.
    """
    # One row for every network: it stands there once for each time that it was looked at.
    first = np.unique(np.hstack(list(posterior.values.values())), axis=0, return_index=True)[1]
    return {group: _group(posterior, view, group, np.sort(first)) for group in GROUPS}


def _group(posterior: Posterior, view: View, group: str, rows: NDArray[np.intp]) -> list[Effect]:
    values, names = posterior.values[group][rows], view.names(group)
    held = (values > 0).sum(axis=0)
    able = np.flatnonzero((held >= FEWEST) & (len(values) - held >= FEWEST)).tolist()
    chosen = sorted(able, key=lambda column: (abs(held[column] - len(values) / 2), names[column]))[:MOST]
    found = [_effect(posterior, view, group, column, rows[values[:, column] > 0]) for column in chosen]
    return sorted(found, key=lambda effect: (-effect.mean, effect.name))


def _effect(posterior: Posterior, view: View, group: str, column: int, holders: NDArray[np.intp]) -> Effect:
    name = view.names(group)[column]
    some = holders[np.linspace(0, len(holders) - 1, min(MOST, len(holders))).round().astype(int)]
    gone = {group: [column]}
    if group == "family":
        gone["module"] = [i for i, module in enumerate(view.names("module")) if view.kin.get(module) == name]
    with_it = {group: rows[some] for group, rows in posterior.trained.coordinates.items()}
    without = {group: _without(rows, posterior.space, group, gone.get(group, [])) for group, rows in with_it.items()}
    means, variances = _difference(posterior, with_it, without)
    unit = posterior.warp.scale * posterior.warp.sd
    sd = unit * float(np.sqrt(variances.mean() + means.var()))
    return Effect.of(name, len(holders), unit * float(means.mean()), sd)


def _without(rows: Floats, space: FeatureSpace, group: str, columns: Sequence[int]) -> Floats:
    """Return coordinates of networks that are alike but in columns of which they hold nothing."""
    if group not in space.groups:
        return rows  # how far it was trained is no feature of a network
    rows, scaling = rows.copy(), space.groups[group]
    rows[:, columns] = -scaling.mean[columns] / scaling.scale[columns] / scaling.width
    return rows


def _difference(posterior: Posterior, a: Coordinates, b: Coordinates) -> tuple[Floats, Floats]:
    """Return mean and variance of the mean of `f(a) - f(b)`, in warped units, each of shape `(draws,)`."""
    trained = posterior.trained

    def mean(x: Coordinates, y: Coordinates) -> Floats:
        return covariances(trained.kernels, x, y, trained.length).mean(axis=1)

    beside = mean(a, trained.coordinates) - mean(b, trained.coordinates)
    own = (mean(a, a) - 2 * mean(a, b) + mean(b, b)).mean(axis=1)
    means, variances = [], []
    for scales, root, solved in zip(trained.draws.scales, trained.roots, trained.solved, strict=True):
        row = scales**2 @ beside
        means.append(row @ solved)
        variances.append(max(float(scales**2 @ own - row @ cho_solve((root, True), row)), 0.0))
    return np.array(means), np.array(variances)


def edits(records: Sequence[Record]) -> dict[str, list[Effect]]:
    """Return what edits gained over their parents, the best first, by kind of edit and by family.

    Partial pooling (Gelman et al. 2013, chapter 5): the mean gain of a group leans on that of all edits, the more so
    the fewer there are of it and the less groups differ. What is not known of that mean, each group's gain inherits.
    """
    known = accuracies(records)
    gains: dict[str, dict[str, list[float]]] = {"kind": {}, "family": {}}
    for record in records:
        plan = record.plan
        if plan is not None and record.tree in known and plan["parent"] in known:
            for key, groups in gains.items():
                groups.setdefault(str(plan[key]), []).append(known[record.tree] - known[plan["parent"]])
    return {key: _pooled(groups) for key, groups in gains.items()}


def _pooled(groups: Mapping[str, Sequence[float]]) -> list[Effect]:
    every = [gain for gains in groups.values() for gain in gains]
    if len(every) < 2:
        return []
    whole = statistics.fmean(every)
    inner = [statistics.variance(gains) * (len(gains) - 1) for gains in groups.values() if len(gains) > 1]
    degrees = len(every) - len(groups)
    within = sum(inner) / degrees if degrees and sum(inner) > 0 else max(statistics.variance(every), 1e-6)
    # Method of moments: what the means of groups vary by beyond what chance makes of them.
    excess = [(statistics.fmean(gains) - whole) ** 2 - within / len(gains) for gains in groups.values()]
    between = max(statistics.fmean(excess), within / 100)
    doubt = within / len(every) + between / len(groups)
    found = []
    for name, gains in groups.items():
        weight = 1 / (within / len(gains)) + 1 / between
        mean = (sum(gains) / within + whole / between) / weight
        leaning = 1 / between / weight
        found.append(Effect.of(name, len(gains), mean, (1 / weight + leaning**2 * doubt) ** 0.5))
    return sorted(found, key=lambda effect: (-effect.mean, effect.name))
