"""The process of `flows.server`: Prefect's API on a socket that the caller opened.

python -m flows.serve SOCKET PARENT
"""

from __future__ import annotations

import socket
import sys

from flows.server import die_with_parent


def main(descriptor: int, parent: int) -> None:
    """Serve until told to stop, or until the parent ends.

    Args:
        descriptor: file descriptor of a listening socket.
        parent: process id of the caller.
    """
    die_with_parent(parent)
    import uvicorn

    config = uvicorn.Config(
        "prefect.server.api.server:create_app",
        factory=True,
        log_level="warning",
        lifespan="on",
        timeout_keep_alive=60,
        timeout_graceful_shutdown=3,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
