"""The gate of a cheap proxy: the options that it ranks last are left out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmastool.planner.plan import Option
from llmastool.training.proxies_config import ProxiesConfig


def promising(options: Sequence[Option], config: ProxiesConfig) -> list[Option]:
    """Return the options that the gate leaves, in their order; all where there is none.

    Of an option whose network has no such number nothing is known, and it stays.
    """
    if config.gate is None:
        return list(options)
    known = {
        i: option.profile.extra[config.gate] for i, option in enumerate(options) if config.gate in option.profile.extra
    }
    worst = sorted(known, key=known.__getitem__)[: math.floor(config.drop * len(known))]
    return [option for i, option in enumerate(options) if i not in set(worst)]
