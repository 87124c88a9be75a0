"""What our own Prefect server says beside Prefect's answers."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from flows.serve import told_when_to_retry


class Scripted:
    """An application that answers with the statuses of a list, one after another."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = iter(statuses)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Response(Request(scope).url.path, next(self._statuses))(scope, receive, send)


def waits(client: TestClient, path: str, times: int) -> list[str | None]:
    return [client.get(path).headers.get("Retry-After") for _ in range(times)]


def test_who_is_refused_should_come_back_soon_and_then_less_soon() -> None:
    client = TestClient(told_when_to_retry(Scripted(503, 503, 503, 200, 503)))
    assert waits(client, "/slots", 5) == ["0.1", "0.2", "0.4", None, "0.1"]


def test_each_address_is_waited_for_by_itself() -> None:
    client = TestClient(told_when_to_retry(Scripted(503, 503, 503)))
    assert [waits(client, path, 1) for path in ("/slots", "/flows", "/slots")] == [["0.1"], ["0.1"], ["0.2"]]


def test_answers_are_otherwise_as_they_were() -> None:
    answer = TestClient(told_when_to_retry(Scripted(404))).get("/there")
    assert (answer.status_code, answer.text, answer.headers.get("Retry-After")) == (404, "/there", None)
