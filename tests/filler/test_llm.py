from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from llmastool.filler.choose import make_filler
from llmastool.filler.config import FillerConfig
from llmastool.filler.question import Choice, Fill, Question
from llmastool.filler.rules import draw
from tests.filler.conftest import KEY
from tests.filler.server import Backend, completion, drip, fixed, hang, pick, send, serve

Ask = Callable[..., Question]


def config(url: str, **changes: Any) -> FillerConfig:
    return FillerConfig(**{"model": "tiny", "base_url": url, "timeout_seconds": 5.0, "retries": 0, **changes})


def answer(url: str, path: Path, questions: list[Question], **changes: Any) -> list[Fill]:
    return make_filler(config(url, **changes), path).fill(questions)


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_pick_is_by_content_and_in_order_whatever_the_shuffle(ask: Ask, tmp_path: Path) -> None:
    questions = [ask(seed) for seed in range(12)]
    with serve(pick("green")) as backend:
        fills = answer(backend.url, tmp_path / "l.jsonl", questions)
    assert [fill.question for fill in fills] == [q.id for q in questions]
    assert {(f.key, f.filler, f.fallback, f.rationale) for f in fills} == {("k1", "openai:tiny", "", "for green")}
    assert {(f.prompt_tokens, f.completion_tokens) for f in fills} == {(321, 7)} and all(f.seconds > 0 for f in fills)
    labels = {
        json.loads(json.loads(e["reply"])["choices"][0]["message"]["content"])["choice"]
        for e in entries(tmp_path / "l.jsonl")
    }
    assert labels == {"A", "B", "C"}


def test_the_request_is_a_closed_strict_schema(ask: Ask, tmp_path: Path) -> None:
    with serve(pick("red")) as backend:
        answer(backend.url, tmp_path / "l.jsonl", [ask()])
    (request,) = backend.requests
    described = request["response_format"]["json_schema"]
    assert described["strict"] is True and request["model"] == "tiny" and request["max_completion_tokens"] == 2000
    assert described["schema"]["properties"]["choice"] == {"type": "string", "enum": ["A", "B", "C"]}
    assert described["schema"]["additionalProperties"] is False
    assert entries(tmp_path / "l.jsonl")[0]["messages"] == request["messages"]


def test_a_search_replays_bit_for_bit_with_the_server_gone(ask: Ask, tmp_path: Path) -> None:
    questions, path = [ask(seed) for seed in range(6)], tmp_path / "l.jsonl"
    with serve(pick("blue")) as backend:
        first = answer(backend.url, path, questions[:4])
        more = answer(backend.url, path, [questions[2], *questions[4:], questions[4]])
        assert len(backend.requests) == 6
    before = path.read_bytes()
    assert answer(backend.url, path, questions) == [*first, *more[1:3]]
    assert make_filler(FillerConfig(kind="rules"), path).fill(questions) == [*first, *more[1:3]]
    assert path.read_bytes() == before


def test_questions_are_asked_side_by_side_but_not_too_many(ask: Ask, tmp_path: Path) -> None:
    def slow(backend: Backend, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        time.sleep(0.3)
        pick("red")(backend, handler, request)

    with serve(slow) as backend:
        fills = answer(backend.url, tmp_path / "l.jsonl", [ask(seed) for seed in range(6)], concurrency=3)
    assert {f.key for f in fills} == {"k0"} and backend.most_busy == 3


HUGE = b"[" * (3 << 20)
WRONG = {
    "html": (fixed("<html>login</html>", kind="text/html"), "the reply is not JSON"),
    "empty body": (fixed(""), "the reply is not JSON"),
    "cut body": (fixed(completion("x")[:60]), "the reply is not JSON"),
    "deep nesting": (fixed(b"[" * 200_000), "the reply is not JSON"),
    "empty object": (fixed("{}"), "the reply holds no message"),
    "choices null": (fixed('{"choices": null}'), "the reply holds no message"),
    "choices empty": (fixed('{"choices": []}'), "the reply holds no message"),
    "message a string": (fixed('{"choices": [{"message": "A"}]}'), "the reply holds no message"),
    "content null": (fixed(completion(None)), "the answer is not a JSON object"),
    "content a list": (fixed(completion(["A"])), "the reply holds no message"),
    "prose": (fixed(completion("I would take A.")), "the answer is not a JSON object"),
    "cut answer": (fixed(completion('{"rationale": "' + " " * 50, finish_reason="length")), "cut at the token limit"),
    "wrong key": (fixed(completion('{"rationale": "r", "choice": "Z"}')), "the answer is none of the choices"),
    "wrong type": (fixed(completion('{"rationale": "r", "choice": 1}')), "not an object with a choice"),
    "more keys": (fixed(completion('{"rationale": "r", "choice": "A", "code": "x"}')), "not an object with a choice"),
    "lone surrogate": (fixed(completion('{"rationale": "\\ud800", "choice": "A"}')), "not an object with a choice"),
    "no rationale": (fixed(completion('{"choice": "A"}')), "not an object with a choice"),
    "huge": (fixed(HUGE), "longer than 1048576 bytes"),
    "huge error": (fixed(HUGE, status=418), "longer than 1048576 bytes"),
    "unauthorised": (fixed(f'{{"error": "bad key {KEY}"}}', status=401), "HTTP status 401: the key was not accepted"),
    "no model": (fixed('{"error": "no such model"}', status=404), "HTTP status 404"),
    "rate limit": (fixed("{}", status=429), "HTTP status 429"),
    "server error": (fixed("oops", status=503), "HTTP status 503"),
    "redirect to nowhere": (fixed("", status=302), "HTTP status 302"),
    "echo of the key": (fixed(completion(f"your key is {KEY}")), "the answer is not a JSON object"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_every_failure_ends_in_the_answer_of_rules_and_says_why(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    reply, reason = WRONG[case]
    path = tmp_path / "l.jsonl"
    with serve(reply) as backend:
        (fill,) = answer(backend.url, path, [ask(5)])
    expected = draw(ask(5))
    assert (fill.key, fill.filler, fill.rationale) == (expected.key, "rules", expected.rationale)
    assert reason in fill.fallback and len(fill.fallback) < 120 and "\n" not in fill.fallback
    assert backend.keys[0] == f"Bearer {KEY}"
    assert KEY not in path.read_text() and KEY not in fill.fallback


def test_a_server_that_is_down(ask: Ask, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        (fill,) = answer(url, tmp_path / "l.jsonl", [ask()], retries=1)
    assert fill.fallback == "no connection to the endpoint, or it was lost" and fill.key == draw(ask()).key


@pytest.mark.parametrize("how", [drip, hang])
def test_the_deadline_is_for_the_whole_question(
    ask: Ask, tmp_path: Path, how: Callable[[Backend, BaseHTTPRequestHandler, dict[str, Any]], None]
) -> None:
    with serve(how) as backend:
        filler = make_filler(config(backend.url, timeout_seconds=1.0, retries=2), tmp_path / "l.jsonl")
        start = time.monotonic()
        (fill,) = filler.fill([ask()])
        took = time.monotonic() - start
    assert fill.fallback == "no answer within 1 s" and 0.9 < fill.seconds < 2.0 and took < 4.0


def test_waiting_for_a_rate_limit_is_part_of_the_deadline(ask: Ask, tmp_path: Path) -> None:
    def later(_: Backend, handler: BaseHTTPRequestHandler, __: dict[str, Any]) -> None:
        handler.send_response(429)
        handler.send_header("Retry-After", "30")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with serve(later) as backend:
        (fill,) = answer(backend.url, tmp_path / "l.jsonl", [ask()], timeout_seconds=1.0, retries=5)
    assert fill.fallback == "no answer within 1 s; the last reply had HTTP status 429"


def test_a_failure_that_passes_is_retried(ask: Ask, tmp_path: Path) -> None:
    def flaky(backend: Backend, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        if len(backend.requests) == 1:
            send(handler, "busy", status=503)
        else:
            pick("red")(backend, handler, request)

    with serve(flaky) as backend:
        (fill,) = answer(backend.url, tmp_path / "l.jsonl", [ask()], retries=1)
    assert (fill.key, fill.fallback) == ("k0", "") and len(backend.requests) == 2


@pytest.mark.parametrize("status", [400, 404, 422])
@pytest.mark.parametrize(("takes", "tries"), [("schema", 2), ("json_object", 3), ("plain", 4)])
def test_an_endpoint_that_knows_no_schema_is_asked_in_a_simpler_form(
    ask: Ask, tmp_path: Path, status: int, takes: str, tries: int
) -> None:
    def form(request: dict[str, Any]) -> str:
        chosen = request.get("response_format", {"type": "plain"})
        if "maxLength" in json.dumps(chosen):
            return "bounded"
        return "schema" if chosen["type"] == "json_schema" else str(chosen["type"])

    def picky(_: Backend, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        if form(request) != takes:
            send(handler, '{"error": "unknown response_format"}', status=status)
        else:
            send(handler, completion('Sure!\n```json\n{"rationale": "r", "choice": "B"}\n```'))

    with serve(picky) as backend:
        filler = make_filler(config(backend.url, concurrency=1), tmp_path / "l.jsonl")
        fills = filler.fill([ask(0), ask(1)])
    assert [f.fallback for f in fills] == ["", ""]
    assert len(backend.requests) == tries + 1, "the form that works is remembered"


def test_after_three_failures_in_a_row_nobody_is_asked(ask: Ask, tmp_path: Path) -> None:
    with serve(fixed("oops", status=500)) as backend:
        filler = make_filler(config(backend.url, concurrency=1), tmp_path / "l.jsonl")
        fills = filler.fill([ask(seed) for seed in range(5)])
        assert filler.fill([ask(9)])[0].fallback == fills[4].fallback
    assert len(backend.requests) == 3
    assert [f.fallback[:9] for f in fills] == ["HTTP stat"] * 3 + ["not asked"] * 2


def test_nonsense_does_not_stop_the_asking(ask: Ask, tmp_path: Path) -> None:
    with serve(fixed(completion("no"))) as backend:
        answer(backend.url, tmp_path / "l.jsonl", [ask(seed) for seed in range(6)], concurrency=1)
    assert len(backend.requests) == 6


def test_the_limit_of_calls_counts_over_a_resumed_search(ask: Ask, tmp_path: Path) -> None:
    with serve(pick("red")) as backend:
        first = answer(backend.url, tmp_path / "l.jsonl", [ask(0), ask(1)], max_calls=3)
        second = answer(backend.url, tmp_path / "l.jsonl", [ask(seed) for seed in range(5)], max_calls=3)
    assert len(backend.requests) == 3 and second[:2] == first
    assert [f.fallback for f in second] == ["", "", "", *["the limit of 3 calls is reached"] * 2]


def test_a_rationale_is_cut_and_cleaned(ask: Ask, tmp_path: Path) -> None:
    said = "so \u202e\x07<b>" + "long " * 100
    with serve(fixed(completion(json.dumps({"rationale": said, "choice": "A"})))) as backend:
        (fill,) = answer(backend.url, tmp_path / "l.jsonl", [ask()])
    assert len(fill.rationale) <= 200 and fill.rationale.startswith("so <b>long") and fill.fallback == ""


def test_it_can_be_called_from_within_a_running_loop(ask: Ask, tmp_path: Path) -> None:
    async def caller(url: str) -> list[Fill]:
        return answer(url, tmp_path / "l.jsonl", [ask()])

    with serve(pick("red")) as backend:
        (fill,) = asyncio.run(caller(backend.url))
    assert fill.key == "k0"


def test_a_ledger_that_cannot_be_written_is_an_error(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with serve(pick("red")) as backend, pytest.raises(FileExistsError):
        answer(backend.url, tmp_path / "file" / "l.jsonl", [ask(seed) for seed in range(3)])


def test_what_leaves_no_choice_is_not_asked(ask: Ask, tmp_path: Path) -> None:
    only = ask(choices=(Choice(key="only", text="x"),))
    with serve(pick("green")) as backend:
        fills = answer(backend.url, tmp_path / "l.jsonl", [only, ask()], max_calls=1)
        assert len(backend.requests) == 1
    assert [(f.key, f.filler, f.fallback) for f in fills] == [("only", "rules", ""), ("k1", "openai:tiny", "")]
