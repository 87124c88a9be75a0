"""What MLflow is told of one candidate, as plain values made from the candidate and its outcome."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llmastool.addresses import without_credentials
from llmastool.canonical import Json

if TYPE_CHECKING:
    from llmastool.candidate import Candidate
    from llmastool.outcome import Outcome
    from llmastool.trees.profile import Profile
    from llmastool.trees.tree import Tree

TEXT_LIMIT = 500
"""Longest parameter or tag, in characters; MLflow refuses those of more than a few thousand."""

COSTS = ("parameters", "flops", "depth")
"""Numbers of a profile that are shown as metrics."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One value of a metric."""

    name: str
    value: float
    milliseconds: int
    """When, since 1970."""
    step: int
    """Epoch; 0 for numbers that belong to none."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One nested run."""

    trial_key: str
    """Name under which it is found again, in all of MLflow."""
    name: str
    """Name on MLflow's page."""
    status: Literal["FINISHED", "FAILED", "KILLED"]
    """`KILLED` where training was left early because others did better."""
    start: int
    """In milliseconds since 1970."""
    end: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: tuple[Row, ...]
    texts: Mapping[str, str]
    """Artifacts: content by file name."""
    change: str
    """What was done to the parent, for people."""
    parent_key: str | None = None
    """`trial_key` of the network that it was made from; None where it was made from none."""


def record(
    trial_key: str,
    candidate: Candidate,
    profile: Profile | None,
    outcome: Outcome,
    *,
    finished: float,
    parent: Tree | None,
    source: str,
    parent_key: str | None = None,
    kind: str = "candidate",
    seed: int | None = None,
) -> RunRecord:
    """Say what MLflow is told of an evaluated candidate.

    Args:
        trial_key: name under which it is found again: the search's key and the name of the training's folder.
        candidate: the network, and how the search came to it.
        profile: its slots and costs; None when it fell before it could be profiled, or they are told elsewhere.
        outcome: what became of it.
        finished: when its evaluation ended, in seconds since 1970. With the times in the curve it stamps all rows,
            so that a record made again later is the same.
        parent: the tree that it was made from; None where it was made from none.
        source: where its modules come from.
        parent_key: name under which the parent is found; None where it was made from none.
        kind: `candidate`, or `final` for a training of the final stage.
        seed: seed of a training of the final stage.
    """
    end = int(finished * 1000)
    start = end - int(outcome.seconds * 1000)
    plan = candidate.plan or {}
    tags = {
        "gate": outcome.gate,
        "round": str(candidate.round),
        "family": str(plan.get("family", "start")),
        "source": source,
        "parent": candidate.parent or "",
        "tree": candidate.id,
        "kind": kind,
        "message": outcome.message,
    }
    return RunRecord(
        trial_key=trial_key,
        name=candidate.name if seed is None else f"{candidate.name} seed {seed}",
        status="FINISHED" if outcome.ok else "KILLED" if outcome.gate == "stopped" else "FAILED",
        start=start,
        end=end,
        params={**_params(candidate), **({} if seed is None else {"seed": str(seed)})},
        tags={name: value[:TEXT_LIMIT] for name, value in tags.items() if value},
        metrics=_metrics(profile, outcome, start, end),
        texts={
            "tree.json": _indented(candidate.tree.to_json()),
            "diff.txt": tree_diff(parent, candidate.tree),
            "outcome.json": _indented(outcome.to_json()),
        },
        change=candidate.change,
        parent_key=parent_key,
    )


def _params(candidate: Candidate) -> dict[str, str]:
    values: dict[str, Json] = {
        "module": candidate.tree.module,
        "parent": candidate.parent,
        "round": candidate.round,
        "change": candidate.change,
        **{f"plan.{name}": value for name, value in (candidate.plan or {}).items()},
        **{f"fill.{name}": value for name, value in (candidate.fill or {}).items()},
    }
    return {name: str(value)[:TEXT_LIMIT] for name, value in values.items() if value not in (None, "")}


def _metrics(profile: Profile | None, outcome: Outcome, start: int, end: int) -> tuple[Row, ...]:
    rows, now = [], float(start)
    for epoch in outcome.curve:
        now = min(now + 1000 * epoch.get("seconds", 0.0), float(end))
        for name, value in epoch.items():
            if name not in ("epoch", "seconds"):
                rows.append(Row(name=f"epoch.{name}", value=value, milliseconds=int(now), step=int(epoch["epoch"])))
    costs = {name: getattr(profile, name) for name in COSTS} if profile else {}
    final = {**costs, **outcome.metrics, "seconds": outcome.seconds}
    rows += [Row(name=name, value=float(value), milliseconds=end, step=0) for name, value in final.items()]
    return tuple(rows)


def tree_diff(parent: Tree | None, child: Tree) -> str:
    """Return the unified diff of two trees' indented JSON; of a tree without a parent, the whole tree as added."""
    old = _indented(parent.to_json()).splitlines() if parent else []
    new = _indented(child.to_json()).splitlines()
    names = parent.id if parent else "nothing", child.id
    return "\n".join(difflib.unified_diff(old, new, *names, lineterm="")) + "\n"


def flatten(value: Mapping[str, Json], prefix: str = "") -> dict[str, str]:
    """Return a nested mapping as one level with dotted keys, values cut to `TEXT_LIMIT` and without passwords."""
    flat: dict[str, str] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            flat.update(flatten(item, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = without_credentials(str(item))[:TEXT_LIMIT]
    return flat


def _indented(value: Json) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
