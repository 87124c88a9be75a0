from __future__ import annotations

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from llmastool.filler.choose import make_filler
from llmastool.filler.config import FillerConfig, Price
from llmastool.filler.ledger import LedgerError
from llmastool.filler.question import Choice, Fill, Question
from llmastool.filler.rules import draw
from tests.filler.conftest import KEY
from tests.filler.server import Backend, called, completion, drip, fixed, hang, pick, send, serve

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
    turns = [turn for e in entries(tmp_path / "l.jsonl") for turn in e["turns"]]
    labels = {json.loads(json.loads(t["reply"])["choices"][0]["message"]["content"])["choice"] for t in turns}
    assert {(t["key"], t["requests"], t["model"]) for t in turns} == {("k1", 1, "tiny")}
    assert labels == {"A", "B", "C"}


def test_the_request_is_a_closed_strict_schema(ask: Ask, tmp_path: Path) -> None:
    with serve(pick("red")) as backend:
        answer(backend.url, tmp_path / "l.jsonl", [ask()])
    (request,) = backend.requests
    described = request["response_format"]["json_schema"]
    assert described["strict"] is True and request["model"] == "tiny" and request["max_completion_tokens"] == 2000
    assert described["schema"]["properties"]["choice"] == {"type": "string", "enum": ["A", "B", "C"]}
    assert described["schema"]["additionalProperties"] is False
    assert entries(tmp_path / "l.jsonl")[0]["turns"][0]["messages"] == request["messages"]


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
@pytest.mark.parametrize(("takes", "tries"), [("schema", 2), ("json_object", 3), ("tool", 4), ("plain", 5)])
def test_an_endpoint_that_knows_no_schema_is_asked_in_a_simpler_form(
    ask: Ask, tmp_path: Path, status: int, takes: str, tries: int
) -> None:
    def form(request: dict[str, Any]) -> str:
        if "tools" in request:
            return "tool"
        chosen = request.get("response_format", {"type": "plain"})
        if "maxLength" in json.dumps(chosen):
            return "bounded"
        return "schema" if chosen["type"] == "json_schema" else str(chosen["type"])

    def picky(_: Backend, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        if form(request) != takes:
            send(handler, '{"error": "unknown response_format"}', status=status)
        elif takes == "tool":
            send(handler, called(request, '{"rationale": "r", "choice": "B"}'))
        else:
            send(handler, completion('Sure!\n```json\n{"rationale": "r", "choice": "B"}\n```'))

    with serve(picky) as backend:
        filler = make_filler(config(backend.url, concurrency=1), tmp_path / "l.jsonl")
        fills = filler.fill([ask(0), ask(1)])
    assert [f.fallback for f in fills] == ["", ""]
    assert len(backend.requests) == tries + 1, "the form that works is remembered"


def test_an_endpoint_that_does_not_heed_a_form_is_asked_in_the_next(ask: Ask, tmp_path: Path) -> None:
    """Some take a schema, say nothing of it, and answer in prose."""

    def deaf(_: Backend, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        told = "tools" in request
        send(handler, called(request, '{"rationale": "r", "choice": "B"}') if told else completion("I would take B."))

    path = tmp_path / "l.jsonl"
    with serve(deaf) as backend:
        fills = answer(backend.url, path, [ask(0), ask(1)], concurrency=1)
    assert [f.fallback for f in fills] == ["", ""] and len(backend.requests) == 5
    assert [t["requests"] for e in entries(path) for t in e["turns"]] == [4, 1]
    assert [f.prompt_tokens for f in fills] == [4 * 321, 321], "all that was asked is counted"


def test_after_three_failures_in_a_row_nobody_is_asked(ask: Ask, tmp_path: Path) -> None:
    with serve(fixed("oops", status=500)) as backend:
        filler = make_filler(config(backend.url, concurrency=1), tmp_path / "l.jsonl")
        fills = filler.fill([ask(seed) for seed in range(5)])
        assert filler.fill([ask(9)])[0].fallback == fills[4].fallback
    assert len(backend.requests) == 3
    assert [f.fallback[:9] for f in fills] == ["HTTP stat"] * 3 + ["not asked"] * 2


def test_nonsense_stops_the_asking_only_where_there_never_was_sense(ask: Ask, tmp_path: Path) -> None:
    def later(backend: Backend, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        if len(backend.requests) == 1:
            pick("red")(backend, handler, request)
        else:
            send(handler, completion("no"))

    with serve(later) as backend:
        fills = answer(backend.url, tmp_path / "l.jsonl", [ask(seed) for seed in range(6)], concurrency=1)
    assert len(backend.requests) == 6 and [bool(f.fallback) for f in fills] == [False] + [True] * 5
    with serve(fixed(completion("no"))) as backend:
        fills = answer(backend.url, tmp_path / "never.jsonl", [ask(seed) for seed in range(6)], concurrency=1)
    assert len(backend.requests) == 3 * 5, "three questions, each in five forms"
    assert [f.fallback[:9] for f in fills[3:]] == ["not asked"] * 3


def test_the_limit_of_calls_counts_over_a_resumed_search(ask: Ask, tmp_path: Path) -> None:
    with serve(pick("red")) as backend:
        first = answer(backend.url, tmp_path / "l.jsonl", [ask(0), ask(1)], max_calls=3)
        second = answer(backend.url, tmp_path / "l.jsonl", [ask(seed) for seed in range(5)], max_calls=3)
    assert len(backend.requests) == 3 and second[:2] == first
    assert [f.fallback for f in second] == ["", "", "", *["the limit of 3 calls is reached"] * 2]


def test_retries_count_towards_the_limit_of_calls(ask: Ask, tmp_path: Path) -> None:
    with serve(fixed("busy", status=503)) as backend:
        fills = answer(backend.url, tmp_path / "l.jsonl", [ask(0), ask(1)], max_calls=2, retries=5, concurrency=1)
    assert len(backend.requests) == 2
    assert [f.fallback for f in fills] == ["the limit of 2 calls is reached"] * 2


PRICED = {"prices": {"tiny": Price(prompt=100.0, completion=1000.0)}, "max_completion_tokens": 100}


def test_the_cap_in_money_is_never_passed_and_counts_over_a_resumed_search(ask: Ask, tmp_path: Path) -> None:
    """A question here takes 321 and 7 tokens: 0.0391; it is asked only where its most, some 0.3, is left."""
    path = tmp_path / "l.jsonl"
    with serve(pick("red")) as backend:
        first = answer(backend.url, path, [ask(seed) for seed in range(3)], max_cost=0.5, **PRICED)
        fills = answer(backend.url, path, [ask(seed) for seed in range(40)], max_cost=0.5, concurrency=1, **PRICED)
    asked = [f for f in fills if not f.fallback]
    assert fills[:3] == first and len(asked) == len(backend.requests)
    assert {round(f.cost, 6) for f in asked} == {0.0391} and 0.1 < sum(f.cost for f in fills) <= 0.5
    assert {f.fallback for f in fills[-5:]} == {"the limit of 0.5 in cost is reached"}


def test_what_is_under_way_is_set_aside(ask: Ask, tmp_path: Path) -> None:
    """Asked at the same time, no more are under way than the cap holds if each costs its most."""

    def slow(backend: Backend, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        time.sleep(0.3)
        pick("red")(backend, handler, request)

    with serve(slow) as backend:
        answer(backend.url, tmp_path / "l.jsonl", [ask(seed) for seed in range(12)], max_cost=0.65, **PRICED)
    assert backend.most_busy <= 2 < 12


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": "many", "completion_tokens": 1}])
def test_where_an_endpoint_does_not_say_what_it_took_the_most_is_paid(ask: Ask, tmp_path: Path, usage: Any) -> None:
    body = json.loads(completion('{"rationale": "r", "choice": "A"}'))
    body["usage"] = usage
    with serve(fixed(json.dumps(body))) as backend:
        (fill,) = answer(backend.url, tmp_path / "l.jsonl", [ask()], **PRICED)
    assert fill.fallback == "" and fill.prompt_tokens == 0 and fill.cost > 0.2


def test_what_was_refused_or_never_arrived_costs_nothing(ask: Ask, tmp_path: Path) -> None:
    with serve(fixed("{}", status=429)) as backend:
        (refused,) = answer(backend.url, tmp_path / "a.jsonl", [ask()], **PRICED)
    (lost,) = answer(backend.url, tmp_path / "b.jsonl", [ask()], **PRICED)
    assert refused.cost == lost.cost == 0.0 and lost.fallback == "no connection to the endpoint, or it was lost"


def test_requests_keep_their_pace(ask: Ask, tmp_path: Path) -> None:
    times: list[float] = []

    def timed(backend: Backend, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        times.append(time.monotonic())
        pick("red")(backend, handler, request)

    with serve(timed) as backend:
        fills = answer(
            backend.url, tmp_path / "l.jsonl", [ask(s) for s in range(4)], per_minute=300, timeout_seconds=0.5
        )
    assert not any(f.fallback for f in fills), "waiting for one's turn is no part of a question's time"
    gaps = [b - a for a, b in zip(sorted(times), sorted(times)[1:], strict=False)]
    assert len(times) == 4 and min(gaps) > 0.1


def test_what_most_orders_pick_is_taken(ask: Ask, tmp_path: Path) -> None:
    """A model that takes what stands first is outvoted by none; one that goes by content has all votes."""
    path = tmp_path / "l.jsonl"
    with serve(pick("green")) as backend:
        (fill,) = answer(backend.url, path, [ask()], orders=12)
    assert (fill.key, len(backend.requests), fill.prompt_tokens) == ("k1", 3, 3 * 321)
    turns = entries(path)[0]["turns"]
    assert sorted(t["order"].index("k1") for t in turns) == [0, 1, 2] and {t["key"] for t in turns} == {"k1"}
    with serve(fixed(completion('{"rationale": "first", "choice": "A"}'))) as backend:
        fills = answer(backend.url, tmp_path / "first.jsonl", [ask(seed) for seed in range(60)], orders=3)
    assert set(Counter(f.key for f in fills)) == {"k0", "k1", "k2"}


def test_turns_that_fail_leave_the_others_to_decide(ask: Ask, tmp_path: Path) -> None:
    def sometimes(backend: Backend, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        if len(backend.requests) == 2:
            send(handler, "oops", status=500)
        else:
            pick("blue")(backend, handler, request)

    with serve(sometimes) as backend:
        (fill,) = answer(backend.url, tmp_path / "l.jsonl", [ask()], orders=3, concurrency=1)
    turns = entries(tmp_path / "l.jsonl")[0]["turns"]
    assert (fill.key, fill.fallback) == ("k2", "") and [t["reason"] for t in turns] == ["", "HTTP status 500", ""]


def test_several_models_get_their_shares_and_a_question_always_the_same(ask: Ask, tmp_path: Path) -> None:
    questions, models = [ask(seed) for seed in range(80)], {"a": 3.0, "b": 1.0}
    with serve(pick("red")) as backend:
        fills = answer(backend.url, tmp_path / "l.jsonl", questions, models=models)
        again = answer(backend.url, tmp_path / "again.jsonl", questions[::-1], models=models)
    assert [f.filler for f in fills] == [f.filler for f in again[::-1]]
    counts = Counter(f.filler for f in fills)
    assert 45 < counts["openai:a"] < 75 and counts["openai:a"] + counts["openai:b"] == 80
    assert Counter(f"openai:{r['model']}" for r in backend.requests[:80]) == counts


def test_a_replay_repeats_a_ledger_to_the_byte_and_refuses_what_it_does_not_hold(ask: Ask, tmp_path: Path) -> None:
    questions, path = [ask(seed) for seed in range(5)], tmp_path / "l.jsonl"
    with serve(pick("blue")) as backend:
        fills = answer(backend.url, path, questions, orders=2)
    replay = FillerConfig(kind="replay", replay=str(path))
    assert make_filler(replay, tmp_path / "new.jsonl").fill(questions) == fills
    assert sorted((tmp_path / "new.jsonl").read_text().splitlines()) == sorted(path.read_text().splitlines())
    with pytest.raises(LedgerError, match=r"l.jsonl: expected an answer to question .*, found none; this search asks"):
        make_filler(replay, tmp_path / "new.jsonl").fill([ask(9)])


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
