"""How likely an edit is to give a network that passes all gates: failures are data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from llmastool.planner.plan import Option, Plan, Record

PRIOR_STRENGTH = 4.0
"""Weight of the overall rate in the rate of a kind and family, in candidates."""

KEY_STRENGTH = 2.0
"""Weight of the kind and family's rate in the rate of one exact plan, in candidates."""


def _trained(record: Record) -> bool:
    """Whether nothing was wrong with a network: to be stopped because others are better is no failure."""
    return record.accuracy is not None or bool(record.partial)


class Success:
    """The probability that an option's child is trained to the end.

    Beta-Binomial, pooled upwards: the rate of this very plan leans on that of its kind of edit and family, which leans
    on the rate of all plans, which leans weakly on one half. So a plan that failed sinks at once, its family slowly.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        """Count what became of earlier plans."""
        plans = [(Plan(**record.plan), _trained(record)) for record in records if record.plan is not None]
        self._rate = (sum(ok for _, ok in plans) + 1.0) / (len(plans) + 2.0)
        self._same = Counter((plan.kind, plan.family) for plan, _ in plans)
        self._same_ok = Counter((plan.kind, plan.family) for plan, ok in plans if ok)
        self._exact = Counter(plan.key for plan, _ in plans)
        self._exact_ok = Counter(plan.key for plan, ok in plans if ok)

    def probability(self, option: Option) -> float:
        """Return the probability, 0 to 1, both left out."""
        same, exact = (option.kind, option.family), option.key
        rate = (self._same_ok[same] + PRIOR_STRENGTH * self._rate) / (self._same[same] + PRIOR_STRENGTH)
        return (self._exact_ok[exact] + KEY_STRENGTH * rate) / (self._exact[exact] + KEY_STRENGTH)
