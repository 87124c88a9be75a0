"""Judge from outside: each module in its own process, in the sandbox, with the package that it came from blocked.

    python -m benchmarks.judge registry|fidelity|plain|blocks|alone     reads a request, writes a line for each item

It is started by `benchmarks.mining_parts.judging` and imports nothing of what probes modules: the files of a registry,
the loader of bundles, and `solve` are all that it shares with the code that it judges.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence

import torch

from benchmarks.mining_parts import alone, blocks, fidelity, modules, plain
from benchmarks.mining_parts.forked import Work, run_forked
from llmastool.canonical import Json

KINDS: dict[str, Callable[[Json], tuple[Sequence[Json], Work]]] = {
    "registry": modules.prepare,
    "fidelity": fidelity.prepare,
    "plain": plain.prepare,
    "blocks": blocks.prepare,
    "alone": alone.prepare,
}


def main() -> None:
    """Judge what the request names."""
    request = json.load(sys.stdin)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    torch.nn.Linear(2, 2)(torch.randn(2, 2)).sum().backward()  # what torch starts at first use is there in every child
    items, work = KINDS[sys.argv[1]](request)
    for done in run_forked(items, work, seconds=request["seconds"], workers=request["workers"]):
        json.dump({"item": done.item, "said": done.said, "ending": done.ending}, out)
        out.write("\n")
        out.flush()


if __name__ == "__main__":
    main()
