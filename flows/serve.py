"""The process of `flows.server`: Prefect's API on a socket that the caller opened.

python -m flows.serve SOCKET PARENT
"""

from __future__ import annotations

import socket
import sys
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING

from flows.server import die_with_parent

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

RETRY_SECONDS = 0.1
"""How long a client should wait before it asks again for the first time, and twice as long each time after it."""


def main(descriptor: int, parent: int) -> None:
    """Serve until told to stop, or until the parent ends.

    Args:
        descriptor: file descriptor of a listening socket.
        parent: process id of the caller.
    """
    die_with_parent(parent)
    import uvicorn
    from prefect.server.api.server import create_app

    config = uvicorn.Config(
        told_when_to_retry(create_app()),
        log_level="warning",
        lifespan="on",
        timeout_keep_alive=60,
        timeout_graceful_shutdown=3,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


def told_when_to_retry(app: ASGIApp) -> ASGIApp:
    """Return an application whose answers of status 503 have a `Retry-After`, by which Prefect's client goes.

    A task with a tag asks for its slots just when the server writes that it is pending. The one of the two that read
    before the other wrote may not write then, SQLite says, and the client is told 503. It would wait for 2 seconds.
    """
    from starlette.datastructures import MutableHeaders

    refused: Counter[str] = Counter()

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] == HTTPStatus.SERVICE_UNAVAILABLE:
                    wait = RETRY_SECONDS * 2 ** refused[scope["path"]]
                    MutableHeaders(scope=message).setdefault("Retry-After", f"{wait:g}")
                    refused[scope["path"]] += 1
                else:
                    refused.pop(scope["path"], None)
            await send(message)

        await app(scope, receive, told)

    return wrapped


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
