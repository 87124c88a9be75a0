"""The process of Prefect's server: for one run, on a socket that `flows.server` opened, or for all, with its page.

python -m flows.serve SOCKET PARENT
python -m flows.serve    does what `prefect server start` does, where Prefect's settings say
"""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Sequence

from flows.garbage import collect_aside
from flows.server import die_with_parent, set_environment


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop, or until the parent ends, and return an exit status."""
    parser = argparse.ArgumentParser(prog="python -m flows.serve", description=__doc__.splitlines()[0])
    parser.add_argument("socket", type=int, nargs="?", help="file descriptor of a listening socket")
    parser.add_argument("parent", type=int, nargs="?", help="process id of who opened it")
    options = parser.parse_args(argv)
    if options.parent is None:
        return _serve_all()
    die_with_parent(options.parent)
    _serve(socket.socket(fileno=options.socket), keep_alive=60)
    return 0


def _serve_all() -> int:
    set_environment()
    from prefect.settings import get_current_settings

    settings = get_current_settings().server.api
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        print(
            f"server: expected to listen at {settings.host}:{settings.port}, found that it cannot be had ({error}); "
            "end what listens there, or say another: PREFECT_SERVER_API_PORT=4201",
            file=sys.stderr,
        )
        return 2
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    print(f"Prefect's page: http://{host}:{settings.port}; stop it with Ctrl-C", flush=True)
    _serve(listener, keep_alive=settings.keepalive_timeout)
    return 0


def _serve(listener: socket.socket, keep_alive: int) -> None:
    """Serve on a listening socket.

    Args:
        listener: the socket.
        keep_alive: how long a connection is kept that asks for nothing, in seconds.
    """
    import uvicorn
    from prefect.server.api.server import create_app

    from flows.database import taking_turns

    app = taking_turns(create_app(final=True))
    collect_aside()
    config = uvicorn.Config(
        app,
        log_level="warning",
        lifespan="on",
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=3,
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main())
