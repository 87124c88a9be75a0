"""The server of the local model, as a process: `python -m llmastool.filler.llama`.

It reads one line that says what to serve, writes one that says where, and ends when its standard input does.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """Serve until nobody is there any more."""
    request = json.loads(sys.stdin.readline())
    said = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the library prints
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = request["weights"]
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [request["key"]]
    # No page, and none of a stranger's may ask it.
    params.ui, params.endpoint_slots = False, False
    params.cors_origins, params.cors_credentials = "null", False
    params.n_ctx, params.n_parallel, params.n_threads_http = 4096, 1, 2
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    # Questions are alike only in how they begin, which the one slot keeps anyway. Of earlier ones gigabytes would be
    # kept for nothing.
    params.cache_ram_mib = 0
    params.verbosity = 1
    server = xllamacpp.Server(params)
    said.write(f"{server.listening_address}\n")
    said.flush()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
