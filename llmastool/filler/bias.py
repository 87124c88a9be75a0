"""What an LLM prefers whatever it is asked: places in the list, modules, families. Measured on its recorded answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from llmastool.canonical import Json
from llmastool.filler.ledger import Exchange
from llmastool.seeds import generator

MOST_PREFERENCES = 20
"""Labels that are listed of one sort."""

_DRAWS = 2000
"""How often picks by chance are drawn, to say what chance alone gives."""


@dataclass(frozen=True, kw_only=True)
class Pick:
    """One pick from one list."""

    labels: Sequence[str]
    """What is looked at of every item, in the order of the list, e.g. its place or its family."""
    taken: int
    """Index of the item that was picked."""


@dataclass(frozen=True, kw_only=True)
class Preference:
    """How often one label was picked."""

    label: str
    picked: int
    expected: float
    """How often chance would have picked it from the same lists."""


@dataclass(frozen=True, kw_only=True)
class Bias:
    """How far picks are from those of chance."""

    picks: int
    distance: float
    """Share of all picks that would have to be others for every label to be picked as often as chance picks it."""
    chance: float
    """What that share is on average if picks are by chance."""
    p: float
    """Probability that chance gives as large a share."""
    preferences: tuple[Preference, ...]
    """By label, the most preferred first."""

    def to_json(self, most: int | None = None) -> Json:
        """Return a JSON value, with so many of the preferences."""
        listed = [{"label": p.label, "picked": p.picked, "expected": p.expected} for p in self.preferences[:most]]
        return {
            "picks": self.picks, "distance": self.distance, "chance": self.chance, "p": self.p, "preferences": listed,
        }  # fmt: skip


def bias(picks: Sequence[Pick]) -> Bias:
    """Compare picks with uniform ones from the same lists. In which order the picks come does not matter."""
    picks = sorted(picks, key=lambda pick: (tuple(pick.labels), pick.taken))
    labels = sorted({label for pick in picks for label in pick.labels})
    at = {label: i for i, label in enumerate(labels)}
    expected = np.zeros(len(labels))
    for pick in picks:
        for label in pick.labels:
            expected[at[label]] += 1 / len(pick.labels)
    picked = Counter(pick.labels[pick.taken] for pick in picks)
    seen = np.array([picked[label] for label in labels])
    by_chance = _by_chance(picks, at)
    n = max(len(picks), 1)
    distance = np.abs(seen - expected).sum() / 2 / n
    distances = np.abs(by_chance - expected).sum(axis=1) / 2 / n
    order = sorted(range(len(labels)), key=lambda i: (expected[i] - seen[i], labels[i]))
    return Bias(
        picks=len(picks),
        distance=float(distance),
        chance=float(distances.mean()),
        p=float((1 + (distances >= distance - 1e-12).sum()) / (1 + _DRAWS)),
        preferences=tuple(Preference(label=labels[i], picked=int(seen[i]), expected=float(expected[i])) for i in order),
    )


def _by_chance(picks: Sequence[Pick], at: dict[str, int]) -> np.ndarray:
    """Return how often labels are picked by chance, shape `(draws, labels)`."""
    rng, counts = generator(0, "bias"), np.zeros((_DRAWS, len(at)))
    for pick in picks:
        drawn = rng.integers(len(pick.labels), size=_DRAWS)
        labels = np.array([at[label] for label in pick.labels])
        np.add.at(counts, (np.arange(_DRAWS), labels[drawn]), 1)
    return counts


def biases(exchanges: Iterable[Exchange]) -> dict[str, Bias]:
    """Return what the LLM's answers in a ledger show, by what is looked at.

    `position` is the place at which an item was shown, turn by turn: the model's own bias. The others are of what the
    search got, fill by fill: the place in the list as it was before any shuffle, which tells of nothing; modules; and
    families.
    """
    found: dict[str, list[Pick]] = {"position": [], "list": [], "module": [], "family": []}
    for exchange in exchanges:
        if not exchange.turns or exchange.fill.fallback:
            continue
        choices = exchange.question.choices
        for turn in exchange.turns:
            if turn.key is not None:
                places = [f"{place + 1:02d}" for place in range(len(turn.order))]
                found["position"].append(Pick(labels=places, taken=turn.order.index(turn.key)))
        taken = [choice.key for choice in choices].index(exchange.fill.key)
        found["list"].append(Pick(labels=[f"{place + 1:02d}" for place in range(len(choices))], taken=taken))
        for what in ("module", "family"):
            found[what].append(Pick(labels=[getattr(choice, what) for choice in choices], taken=taken))
    return {what: bias(picks) for what, picks in found.items() if picks}
