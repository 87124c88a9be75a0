"""Judge from outside: each module in its own process, in the sandbox, with the package that it came from blocked.

    python -m benchmarks.judge KIND     reads a request, writes a line for each item

It is started by `benchmarks.mining_parts.judging`. Where modules are judged, it imports nothing of what probes
them: the files of a registry, the loader of bundles, and `solve` are all that it shares with the code that it judges.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import warnings

import torch

from benchmarks.mining_parts.forked import run_forked

KINDS = {
    "registry": "benchmarks.mining_parts.modules",
    "fidelity": "benchmarks.mining_parts.fidelity",
    "plain": "benchmarks.mining_parts.plain",
    "blocks": "benchmarks.mining_parts.blocks",
    "alone": "benchmarks.mining_parts.alone",
    "read_in": "benchmarks.tree_parts.read_in",
    "starts": "benchmarks.tree_parts.starts",
    "chains": "benchmarks.tree_parts.chains",
    "speed": "benchmarks.tree_parts.speed",
    "evolved": "benchmarks.tree_parts.evolved",
}
"""The module of each kind, which has a function `prepare`: from a request to its items, and what is done with one."""


def main() -> None:
    """Judge what the request names."""
    request = json.load(sys.stdin)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    torch.nn.Linear(2, 2)(torch.randn(2, 2)).sum().backward()  # what torch starts at first use is there in every child
    items, work = importlib.import_module(KINDS[sys.argv[1]]).prepare(request)
    limits = {name: request[name] for name in ("seconds", "workers", "gib")}
    for done in run_forked(items, work, **limits):
        json.dump({"item": done.item, "said": done.said, "ending": done.ending}, out)
        out.write("\n")
        out.flush()


if __name__ == "__main__":
    main()
