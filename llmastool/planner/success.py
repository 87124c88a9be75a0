"""How likely an edit is to give a network that passes all gates: failures are data."""

from __future__ import annotations

from collections.abc import Sequence

from llmastool.planner.plan import Option, Record

PRIOR_STRENGTH = 4.0
"""Weight of the overall rate in the rate of a kind and family, in candidates."""

KEY_STRENGTH = 2.0
"""Weight of the kind and family's rate in the rate of one exact plan, in candidates."""


def success_probability(records: Sequence[Record], option: Option) -> float:
    """Return the probability that an option's child is trained to the end, 0 to 1, both left out.

    Beta-Binomial, pooled upwards: the rate of this very plan leans on that of its kind of edit and family, which leans
    on the rate of all plans, which leans weakly on one half. So a plan that failed sinks at once, its family slowly.
    """
    plans = [(record.plan, record.accuracy is not None) for record in records if record.plan is not None]
    same = [(plan, ok) for plan, ok in plans if (plan["kind"], plan["family"]) == (option.kind, option.family)]
    exact = [ok for plan, ok in same if (plan["parent"], plan["slot"]) == (option.parent, option.slot)]
    rate = (sum(ok for _, ok in plans) + 1.0) / (len(plans) + 2.0)
    rate = (sum(ok for _, ok in same) + PRIOR_STRENGTH * rate) / (len(same) + PRIOR_STRENGTH)
    return (sum(exact) + KEY_STRENGTH * rate) / (len(exact) + KEY_STRENGTH)
