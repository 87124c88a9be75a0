"""A real HTTP server on loopback that answers chat completions well, or in one of the ways in which they go wrong."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Backend:
    """What the server does, and what it has seen."""

    reply: Callable[[Backend, BaseHTTPRequestHandler, dict[str, Any]], None]
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    busy: int = 0
    most_busy: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""


def send(handler: BaseHTTPRequestHandler, body: bytes | str, status: int = 200, kind: str = "application/json") -> None:
    raw = body.encode() if isinstance(body, str) else body
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(raw)))
    handler.end_headers()
    handler.wfile.write(raw)


def completion(content: Any, **more: Any) -> str:
    message = {"role": "assistant", "content": content}
    usage = {"prompt_tokens": 321, "completion_tokens": 7, "total_tokens": 328}
    choice = {"index": 0, "message": message, "finish_reason": "stop", **more}
    return json.dumps({"id": "x", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage})


def called(request: dict[str, Any], arguments: str) -> str:
    """Return a completion that calls the tool of a request."""
    name = request["tools"][0]["function"]["name"]
    assert request["tool_choice"]["function"]["name"] == name
    call = {"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}
    told = json.loads(completion(None))
    told["choices"][0]["message"] |= {"content": None, "tool_calls": [call]}
    return json.dumps(told)


def shown(request: dict[str, Any]) -> dict[str, str]:
    """Return the candidates of a request: text by letter."""
    lines = request["messages"][1]["content"].splitlines()
    return {line[0]: line[3:] for line in lines if line[1:3] == ": "}


def pick(text: str) -> Callable[[Backend, BaseHTTPRequestHandler, dict[str, Any]], None]:
    """Pick the candidate whose text holds `text`, by content and wherever it stands."""

    def reply(_: Backend, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        label = next(label for label, candidate in shown(request).items() if text in candidate)
        send(handler, completion(json.dumps({"rationale": f"for {text}", "choice": label})))

    return reply


def answer(label: str, rationale: str = "r") -> str:
    """Return a completion that picks a label."""
    return completion(json.dumps({"rationale": rationale, "choice": label}))


def well(_: Backend, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
    """Pick by the length of what is asked, and a value with it where one is free."""
    turn = len(request["messages"][1]["content"])
    if "response_format" not in request or "json_schema" not in request["response_format"]:
        labels = sorted(shown(request))
        send(handler, answer(labels[turn % len(labels)]))
        return
    properties = request["response_format"]["json_schema"]["schema"]["properties"]
    if "pick" not in properties:
        send(handler, answer(properties["choice"]["enum"][turn % len(properties["choice"]["enum"])]))
        return
    picks = properties["pick"]["anyOf"]
    enums = {name: kind["enum"] for name, kind in picks[turn % len(picks)]["properties"].items()}
    picked = {name: values[turn % len(values)] for name, values in enums.items()}
    send(handler, completion(json.dumps({"rationale": "r", "pick": picked})))


def fixed(body: bytes | str, **how: Any) -> Callable[[Backend, BaseHTTPRequestHandler, dict[str, Any]], None]:
    """Send the same body every time."""

    def reply(_: Backend, handler: BaseHTTPRequestHandler, __: dict[str, Any]) -> None:
        send(handler, body, **how)

    return reply


def drip(backend: Backend, handler: BaseHTTPRequestHandler, __: dict[str, Any]) -> None:
    """Send a valid reply so slowly that no single wait is long, but the whole would take minutes."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    for _ in range(600):
        if backend.stop.wait(0.1):
            return
        try:
            handler.wfile.write(b" ")
            handler.wfile.flush()
        except OSError:
            return


def hang(backend: Backend, _: BaseHTTPRequestHandler, __: dict[str, Any]) -> None:
    """Take the question and say nothing."""
    backend.stop.wait(30)


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # with the usual 5, connections that come all at once are refused


@contextmanager
def serve(reply: Callable[[Backend, BaseHTTPRequestHandler, dict[str, Any]], None]) -> Iterator[Backend]:
    """Run a server in a thread for the length of the context."""
    backend = Backend(reply)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with backend.lock:
                backend.requests.append(request)
                backend.keys.append(self.headers.get("Authorization", ""))
                backend.busy += 1
                backend.most_busy = max(backend.most_busy, backend.busy)
            try:
                backend.reply(backend, self, request)
            except OSError:
                time.sleep(0)  # the client went away, which is what some of the tests are about
            finally:
                with backend.lock:
                    backend.busy -= 1

        def log_message(self, *_: Any) -> None:
            """Keep the test's output quiet."""

    server = _Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    backend.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield backend
    finally:
        backend.stop.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
