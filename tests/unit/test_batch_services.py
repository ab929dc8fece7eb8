"""What services of OpenAI's shape have in another form: their requests and bodies, as their documentation has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest

from batches import finished, run
from brainwires_provider import APIError, AsyncClient, ProtocolError, ProviderError, UnsupportedError, Usage
from brainwires_provider.protocols.base.batches import (
    BatchProtocol,
    LineResult,
    job_in,
    lines_in,
    whole_counts,
)
from brainwires_provider.providers import PROVIDERS
from brainwires_provider.providers.batches import BATCHES
from brainwires_provider.providers.prices import Prices
from brainwires_provider.resources.batch_ledger import line_id
from brainwires_provider.testing import Answer, FakeProvider, RecordedRequest
from brainwires_provider.testing.batch import chat_answer, json_answer
from brainwires_provider.types import Message, Report, Response, TextPart

ITEMS = {"a": "Say a.", "b": "Say b."}
A, B = line_id("a"), line_id("b")


def file_line(id: str, text: str) -> dict[str, Any]:
    response = {"status_code": 200, "request_id": "r", "body": chat_answer(text)}
    return {"id": "x", "custom_id": id, "response": response, "error": None}


def lines(*each: dict[str, Any]) -> Answer:
    return Answer(body=b"".join(json.dumps(line).encode() + b"\n" for line in each))


BAD = {
    "id": "x",
    "custom_id": B,
    "response": {"status_code": 400, "body": {"error": {"message": "odd"}}},
    "error": None,
}


class Script:
    """Answers by method and path, each used up in order; the last one stays."""

    def __init__(self, answers: dict[str, list[Answer]]) -> None:
        self.answers = answers
        self.seen: list[RecordedRequest] = []

    def __call__(self, request: RecordedRequest) -> Answer:
        self.seen.append(request)
        known = self.answers[f"{request.method} {request.target}"]
        return known.pop(0) if len(known) > 1 else known[0]

    def of(self, start: str) -> RecordedRequest:
        return next(each for each in self.seen if f"{each.method} {each.target}".startswith(start))


def asked(script: Script, model: str, root: Path, **more: Any) -> list[Any]:
    async def work() -> list[Any]:
        async with AsyncClient(model, api_key="key", transport=FakeProvider(script), **more) as asking:
            return await finished(await asking.batch(ITEMS, ledger=root))

    return run(work)


def outcomes(found: list[Any]) -> list[tuple[str, str]]:
    return [(each.outcome, each.response.text if each.response else str(each.error)) for each in found]


def test_mistral(tmp_path: Path) -> None:
    job = {
        "id": "j1",
        "input_files": ["f1"],
        "status": "QUEUED",
        "output_file": None,
        "error_file": None,
        "errors": [],
    }
    counts = {"total_requests": 2, "completed_requests": 2, "succeeded_requests": 1, "failed_requests": 1}
    ended = {**job, **counts, "status": "SUCCESS", "output_file": "f2", "error_file": "f3"}
    script = Script(
        {
            "POST /v1/files": [json_answer({"id": "f1"})],
            "POST /v1/batch/jobs": [json_answer(job)],
            "GET /v1/batch/jobs/j1": [
                json_answer({**job, "status": "RUNNING"}),
                json_answer({**ended, "output_file": None}),
                json_answer(ended),
            ],
            "GET /v1/files/f2/content": [lines(file_line(A, "Hi"))],
            "GET /v1/files/f3/content": [lines(BAD)],
        }
    )
    found = asked(script, "mistral:mistral-small-latest", tmp_path)
    assert outcomes(found) == [("succeeded", "Hi"), ("errored", "mistral: odd")]
    assert script.of("POST /v1/batch/jobs").json() == {
        "endpoint": "/v1/chat/completions",
        "model": "mistral-small-latest",
        "input_files": ["f1"],
        "timeout_hours": 24,
    }
    upload = script.of("POST /v1/files").body
    assert f'{{"custom_id":"{A}","body":{{"model":"mistral-small-latest"'.encode() in upload
    assert b'"url"' not in upload


def test_together(tmp_path: Path) -> None:
    job = {"id": "j1", "input_file_id": "f1", "status": "VALIDATING", "progress": 0.0}
    script = Script(
        {
            "POST /v1/files/upload": [json_answer({"id": "f1"})],
            "POST /v1/batches": [json_answer({"job": job, "warning": "slow today"})],
            "GET /v1/batches/j1": [
                json_answer({**job, "status": "IN_PROGRESS"}),
                json_answer({**job, "status": "COMPLETED", "output_file_id": "f2", "error_file_id": ""}),
            ],
            "GET /v1/files/f2/content": [lines(file_line(B, "Two"), file_line(A, "One"))],
        }
    )
    found = asked(script, "together:meta-llama/x", tmp_path)
    assert outcomes(found) == [("succeeded", "One"), ("succeeded", "Two")]
    upload = script.of("POST /v1/files/upload").body
    for field in ('name="purpose"\r\n\r\nbatch-api\r\n', 'name="file_type"\r\n\r\njsonl\r\n'):
        assert field.encode() in upload


def test_openrouter(tmp_path: Path) -> None:
    job = {"id": "b1", "status": "validating", "endpoint": "/v1/chat/completions"}
    results = [
        file_line(B, "Two"),
        {"id": "x", "custom_id": A, "response": None, "error": {"code": "gone", "message": "no"}},
    ]
    script = Script(
        {
            "POST /api/beta/batches": [json_answer(job, 202)],
            "GET /api/beta/batches/b1": [
                json_answer({**job, "status": "in_progress"}),
                json_answer({**job, "status": "completed"}),
                json_answer({**job, "status": "completed", "results": results}),
            ],
        }
    )
    found = asked(script, "openrouter:openai/gpt-4o-mini:batch", tmp_path)
    assert outcomes(found) == [("errored", "openrouter: no"), ("succeeded", "Two")]
    body = script.of("POST /api/beta/batches").json()
    assert list(body) == ["endpoint", "model", "requests"]
    assert (body["model"], [list(each) for each in body["requests"]]) == (
        "openai/gpt-4o-mini:batch",
        [["custom_id", "body"]] * 2,
    )


def test_openrouter_cancels_nothing(tmp_path: Path) -> None:
    job = json_answer({"id": "b1", "status": "in_progress"})
    script = Script({"POST /api/beta/batches": [job], "GET /api/beta/batches/b1": [job]})

    async def work() -> None:
        async with AsyncClient("openrouter:x:batch", api_key="key", transport=FakeProvider(script)) as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path)
            await batch.cancel()

    with pytest.raises(UnsupportedError, match="openrouter cannot cancel a batch"):
        run(work)


def xai_state(total: int, pending: int, **more: Any) -> dict[str, Any]:
    state = {"num_requests": total, "num_pending": pending, "num_success": total - pending, "num_error": 0}
    return {"batch_id": "b1", "name": "n", "input_file_id": "f1", "state": state, "cancel_time": None, **more}


def test_xai(tmp_path: Path) -> None:
    answered = {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "grok-4",
        "output": [
            {
                "type": "message",
                "id": "m",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "Two", "annotations": []}],
            }
        ],
    }
    pages = [
        {
            "results": [{"batch_request_id": B, "batch_result": {"response": {"responses": answered}}}],
            "pagination_token": "p",
        },
        {
            "results": [
                {"batch_request_id": A, "batch_result": {"error": {"code": 429, "message": "slow down"}}}
            ]
        },
    ]
    script = Script(
        {
            "POST /v1/files": [json_answer({"id": "f1"})],
            "POST /v1/batches": [json_answer(xai_state(0, 0))],
            "GET /v1/batches/b1": [json_answer(xai_state(2, 1)), json_answer(xai_state(2, 0))],
            "GET /v1/batches/b1/results?limit=1000": [json_answer(pages[0])],
            "GET /v1/batches/b1/results?limit=1000&pagination_token=p": [json_answer(pages[1])],
        }
    )
    found = asked(script, "xai:grok-4", tmp_path)
    assert outcomes(found) == [("errored", "xai: slow down"), ("succeeded", "Two")]
    assert found[0].error.status == 429
    name = script.of("POST /v1/batches").json().pop("name")
    assert script.of("POST /v1/batches").json() == {"name": name, "input_file_id": "f1"}
    assert b'"url":"/v1/responses"' in script.of("POST /v1/files").body


@pytest.mark.parametrize(
    ("job", "state", "error"),
    [
        (xai_state(0, 0), "queued", None),
        (xai_state(2, 2), "running", None),
        (xai_state(2, 0), "done", None),
        (xai_state(2, 1, cancel_time="2026-11-29"), "cancelled", None),
        (xai_state(2, 1, cancel_time="2026-11-29", cancel_by_xai_message="bad file"), "failed", "bad file"),
    ],
)
def test_xai_has_counters_in_place_of_a_state(job: dict[str, Any], state: str, error: str | None) -> None:
    protocol = BATCHES["xai"].protocol()
    read = protocol.read_job(json.dumps(job).encode())
    assert (read.state, read.error, read.mark) == (state, error, "n")
    for token in ("", "p"):
        page = protocol.read_jobs(json.dumps({"batches": [job], "pagination_token": token}).encode())
        assert page == ([read], token or None)
    call = protocol.cancel("b1")
    assert call is not None
    assert call.path == "/batches/b1:cancel"


@pytest.mark.parametrize("name", ["groq", "azure-chat", "moonshot", "alibaba", "litellm", "custom"])
def test_those_that_have_openais_shape(name: str, tmp_path: Path) -> None:
    job = {
        "id": "j1",
        "input_file_id": "f1",
        "status": "completed",
        "output_file_id": "f2",
        "error_file_id": None,
    }
    base = "https://example.test/v1"
    script = Script(
        {
            "POST /v1/files": [json_answer({"id": "f1"})],
            "POST /v1/batches": [json_answer({**job, "status": "validating"})],
            "GET /v1/batches/j1": [json_answer(job)],
            "GET /v1/files/f2/content": [lines(file_line(A, "One"), file_line(B, "Two"))],
        }
    )
    found = asked(script, f"{name}:m", tmp_path, base_url=base)
    assert outcomes(found) == [("succeeded", "One"), ("succeeded", "Two")]
    body = script.of("POST /v1/batches").json()
    assert body == {"endpoint": "/v1/chat/completions", "input_file_id": "f1", "completion_window": "24h"}


# -- the table -----------------------------------------------------------------------------------------------


def test_every_entry_is_a_providers_and_has_its_documentation() -> None:
    assert BATCHES.keys() <= PROVIDERS.keys()
    for name, service in BATCHES.items():
        protocol: BatchProtocol = service.protocol()
        assert service.docs.startswith("https://"), name
        assert protocol.limits.lines >= 5_000, name
        assert protocol.way in ("files", "inline", "store"), name


def answered(usage: Usage, model: str) -> Response[Any]:
    return Response(
        id=None, provider="p", model=model, message=Message("assistant", (TextPart("Hi"),)), finish_reason="stop",
        raw_finish_reason="stop", usage=usage, extra={}, report=Report(), request_id=None,
        headers={}, attempts=(),
    )  # fmt: skip


USAGE = Usage(uncached_input=600, cache_read=400, output_text=100, complete=True)


@pytest.mark.parametrize(
    ("url", "model", "name", "million", "complete"),
    [
        # The table of prices knows these batches:
        ("https://api.openai.com/v1", "gpt-5", "openai-chat", "600*0.625 + 400*0.0625 + 100*5", True),
        ("https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1/publishers/google",
         "gemini-2.5-pro", "vertex", "600*0.625 + 400*0.125 + 100*5", True),
        # and these it does not: a share of the usual price
        ("https://api.x.ai/v1", "grok-4-0709", "xai", "600*2.4 + 400*0.6 + 100*12", True),
        ("https://api.groq.com/openai/v1", "llama-3.3-70b-versatile", "groq",
         "600*0.295 + 400*0.59 + 100*0.395", True),
        ("https://api.mistral.ai/v1", "mistral-large-latest", "mistral", "600*1 + 400*1 + 100*3", True),
        ("https://bedrock-runtime.us-east-1.amazonaws.com", "amazon.nova-pro-v1:0", "bedrock",
         "600*0.4 + 400*0.1 + 100*1.6", False),
        ("https://api.openai.com/v1", "gpt-unheard-of", "openai-chat", None, None),
        ("https://example.test/v1", "m", "custom", None, None),
    ],
)  # fmt: skip
def test_the_cost_of_a_batch(
    url: str, model: str, name: str, million: str | None, complete: bool | None
) -> None:
    service = BATCHES[name]
    cost = Prices(url).batch_cost(
        answered(USAGE, model), model, service.rate, service.cached, is_uniform=service.is_uniform
    )
    if million is None:
        assert cost is None
        return
    assert cost is not None
    expected = sum(
        Decimal(count) * Decimal(price) for count, price in (term.split("*") for term in million.split(" + "))
    )
    assert (cost.usd, cost.complete) == (expected / 10**6, complete)


def test_a_size_decides_the_price_of_a_share_too() -> None:
    """Tiered prices, at a share; and no cost where neither a rate nor a share is known."""
    prices = Prices("https://api.openai.com/v1")
    from brainwires_provider.providers.prices import _shared

    tier = type("T", (), {"start": 10, "price": Decimal(4)})()
    tiered = type("P", (), {"base": Decimal(2), "tiers": [tier]})()
    rates = _shared(
        type(prices._rates((None, "gpt-5", None)))({"input_mtok": tiered, "x": "y", "z": None}, True),
        Decimal("0.5"), Decimal(1),
    )  # fmt: skip
    assert [rates.of(size, "input_mtok") for size in (10, 11)] == [Decimal(1), Decimal(2)]
    assert [rates.of(size, "cache_read_mtok") for size in (10, 11)] == [Decimal(2), Decimal(4)]
    other = Prices("https://api.mistral.ai/v1")
    assert (
        other.batch_cost(answered(USAGE, "mistral-large-latest"), "mistral-large-latest", None, None) is None
    )


# -- reading -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"[]", ProtocolError),
        (b"not json", ProtocolError),
        (b'{"object": "list"}', ProtocolError),
        (b'{"error": {"message": "no"}}', APIError),
    ],
)
def test_what_is_no_job(body: bytes, error: type[ProviderError]) -> None:
    with pytest.raises(error):
        job_in(body)
    assert job_in(b'{"job": {"id": "x"}}', key="job") == {"id": "x"}


def test_a_torn_line_is_left_out_and_a_line_with_nan_is_read() -> None:
    whole = b'{"id":"a","outcome":"succeeded","body":{"x":NaN}}\n\n'
    body = whole + b'{"id":"b"\n{"outcome":"x"}\n{"id":"c","outcome":"missing"}'
    found = list(lines_in(body, LineResult))
    assert [each.id for each in found] == ["a", "c"]
    assert whole_counts({"a": "12", "b": 3, "c": True, "d": "x"}) == {"a": 12, "b": 3}
    assert whole_counts(None) == {}


@pytest.mark.parametrize(
    ("job", "error"),
    [
        ({"errors": None}, None),
        ({"errors": {"data": []}}, None),
        ({"error": "out of credit"}, "out of credit"),
        ({"errors": {"message": "out of order"}}, "out of order"),
        (
            {"errors": [{"message": f"m{n}", "line": n} for n in range(5)]},
            "line 0: m0; line 1: m1; line 2: m2; and 2 more",
        ),
        ({"errors": [{"message": f"m{n}"} for n in range(3)]}, "m0; m1; m2"),
        ({"errors": [{"message": f"m{n}"} for n in range(4)]}, "m0; m1; m2; and 1 more"),
        ({"errors": {"data": [{"code": "c"}, "odd"]}}, "c"),
        ({"errors": ["odd"]}, None),
    ],
)
def test_why_a_job_failed(job: dict[str, Any], error: str | None) -> None:
    read = (
        BATCHES["openai-chat"]
        .protocol()
        .read_job(json.dumps({"id": "b", "status": "failed", **job}).encode())
    )
    assert read.error == error


@pytest.mark.parametrize(
    ("body", "found", "after"),
    [
        ({"data": [{"id": "b1", "input_file_id": "f"}], "has_more": True}, [("b1", "f")], "b1"),
        ({"data": [{"id": "b1", "input_files": []}, {"object": "x"}]}, [("b1", None)], None),
        ([{"id": "b1", "input_file_id": "f"}], [("b1", "f")], None),
        ({"data": []}, [], None),
    ],
)
def test_lists_of_jobs(body: Any, found: list[Any], after: str | None) -> None:
    name = "mistral" if "input_files" in json.dumps(body) else "openai-chat"
    jobs, following = BATCHES[name].protocol().read_jobs(json.dumps(body).encode())
    assert ([(job.id, job.mark) for job in jobs], following) == (found, after)
    assert all((job.state, job.raw_state) == ("running", "") for job in jobs)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (None, "succeeded"),
        (199, "errored"),
        (200, "succeeded"),
        (299, "succeeded"),
        (300, "errored"),
        (400, "errored"),
    ],
)
def test_the_status_of_a_line_says_whether_it_was_answered(status: int | None, outcome: str) -> None:
    line = {"custom_id": A, "response": {"status_code": status, "request_id": "r", "body": {}}}
    (read,) = BATCHES["openai-chat"].protocol().read_results(json.dumps(line).encode(), [A]).results
    assert (read.outcome, read.status, read.request_id) == (outcome, status, "r")


STATES = {
    "openai-chat": {
        "queued": "validating queued",
        "running": "in_progress running odd",
        "ending": "finalizing cancelling",
        "done": "completed COMPLETED",
        "failed": "failed",
        "cancelled": "cancelled",
        "expired": "expired",
    },
    "mistral": {
        "queued": "QUEUED",
        "running": "RUNNING",
        "ending": "CANCELLATION_REQUESTED",
        "done": "SUCCESS",
        "expired": "TIMEOUT_EXCEEDED",
    },
    "anthropic": {"running": "in_progress", "ending": "canceling", "done": "ended"},
    "google": {
        "queued": "BATCH_STATE_PENDING",
        "running": "BATCH_STATE_RUNNING odd",
        "done": "BATCH_STATE_SUCCEEDED",
        "failed": "BATCH_STATE_FAILED",
        "cancelled": "BATCH_STATE_CANCELLED",
        "expired": "BATCH_STATE_EXPIRED",
    },
    "vertex": {
        "queued": "JOB_STATE_QUEUED JOB_STATE_PENDING",
        "running": "JOB_STATE_RUNNING JOB_STATE_PAUSED JOB_STATE_UPDATING",
        "ending": "JOB_STATE_CANCELLING",
        "done": "JOB_STATE_SUCCEEDED JOB_STATE_PARTIALLY_SUCCEEDED",
        "failed": "JOB_STATE_FAILED",
        "cancelled": "JOB_STATE_CANCELLED",
        "expired": "JOB_STATE_EXPIRED",
    },
    "bedrock": {
        "queued": "Submitted Validating Scheduled",
        "running": "InProgress odd",
        "ending": "Stopping",
        "done": "Completed PartiallyCompleted",
        "failed": "Failed",
        "cancelled": "Stopped",
        "expired": "Expired",
    },
}
"""The words of a service, by the state that they mean."""


@pytest.mark.parametrize("name", STATES)
def test_every_word_for_the_state_of_a_job(name: str) -> None:
    ids = dict.fromkeys(("id", "name", "jobArn"), "b")
    for state, words in STATES[name].items():
        for word in words.split():
            said = dict.fromkeys(("status", "processing_status", "state"), word)
            job = json.dumps({**ids, **said, "metadata": {"state": word}}).encode()
            read = BATCHES[name].protocol().read_job(job)
            assert (read.state, read.raw_state) == (state, word)


@pytest.mark.parametrize("name", [name for name, each in BATCHES.items() if name not in ("anthropic",)])
def test_the_second_page_of_a_list(name: str) -> None:
    protocol = BATCHES[name].protocol()
    first, second = protocol.jobs(None), protocol.jobs("cursor")
    if first is None or second is None:
        assert protocol.way == "inline"
        return
    assert "cursor" not in first.query.values()
    assert "cursor" in second.query.values()
    assert first.method == second.method == "GET"


@pytest.mark.parametrize("name", BATCHES)
def test_the_methods_of_a_job(name: str) -> None:
    protocol = BATCHES[name].protocol()
    assert protocol.retrieve("b").method == "GET"
    cancel = protocol.cancel("b")
    assert cancel is None or cancel.method == "POST"


def unused(protocol: BatchProtocol) -> list[Callable[[], object]]:
    job = None
    calls: list[Callable[[], object]] = []
    if protocol.way != "files":
        calls += [lambda: protocol.upload(b"", "n"), lambda: protocol.read_upload(b"")]
    if protocol.way == "store":
        calls.append(lambda: protocol.results(job, ""))  # type: ignore[arg-type]
    return calls


@pytest.mark.parametrize("name", ["anthropic", "google", "vertex", "bedrock"])
def test_what_a_service_does_not_have_is_never_called(name: str) -> None:
    protocol = BATCHES[name].protocol()
    for call in unused(protocol):
        with pytest.raises(NotImplementedError):
            call()
    if name == "anthropic":
        with pytest.raises(NotImplementedError):
            protocol.read_jobs(b"")


def test_results_of_another_form_are_errors() -> None:
    read = BATCHES["anthropic"].protocol().read_results
    (found,) = read(b'{"custom_id": "a", "result": {"type": "odd", "error": 3}}', []).results
    assert (found.outcome, b"another form" in bytes(found.body)) == ("errored", True)
    protocol = BATCHES["anthropic"].protocol()
    assert protocol.jobs(None) is None
    assert protocol.read_job(b'{"id": "m", "processing_status": "canceling"}').state == "ending"


@pytest.mark.parametrize(
    ("line", "message", "status"),
    [
        ({"status": "out of order", "response": {}}, "out of order", None),
        ({"status": "", "response": {}}, "there is no answer", None),
        ({"status": 'Bad: {"code": 429, "message": "slow"}', "response": {}}, "slow", 429),
    ],
)
def test_the_errors_of_vertex_are_texts(line: dict[str, Any], message: str, status: int | None) -> None:
    labelled = {"request": {"labels": {"brainwires_id": "a"}}, **line}
    others = [{"request": {"contents": []}, **line}, {"request": {"labels": "odd"}, **line}]
    body = b"\n".join(json.dumps(each).encode() for each in (labelled, *others))
    (found,) = BATCHES["vertex"].protocol().read_results(body, []).results
    assert (found.outcome, found.status, message.encode() in bytes(found.body)) == ("errored", status, True)


RPC_STATUS = dict(
    zip(
        range(2, 17), (500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401), strict=True
    )
)
"""The status of HTTP that google/rpc/code.proto names for each code of an error."""


@pytest.mark.parametrize(
    ("error", "outcome", "status"),
    [
        ({"code": 1}, "cancelled", 499),
        *(({"code": code}, "errored", status) for code, status in RPC_STATUS.items()),
        ({"code": 99}, "errored", None),
        ({"message": "x"}, "errored", None),
    ],
)
def test_the_errors_of_gemini_have_codes_of_rpc(
    error: dict[str, Any], outcome: str, status: int | None
) -> None:
    answers = [{"error": error, "metadata": {"key": "a"}}]
    job = {"name": "batches/1", "metadata": {"output": {"inlinedResponses": {"inlinedResponses": answers}}}}
    (found,) = BATCHES["google"].protocol().read_results(json.dumps(job).encode(), ["a", "b"]).results
    assert (found.outcome, found.status) == (outcome, status)


@pytest.mark.parametrize(
    "job", [{"name": "batches/1"}, {"name": "batches/1", "response": {"inlinedResponses": 3}}]
)
def test_a_job_of_gemini_without_answers(job: dict[str, Any]) -> None:
    read = BATCHES["google"].protocol().read_job(json.dumps({**job, "error": {"message": "no"}}).encode())
    assert (read.state, read.sources, read.error) == ("running", (), "no")


RUNNING = {
    *("in_progress", "InProgress"),
    *("JOB_STATE_UNSPECIFIED", "JOB_STATE_RUNNING", "JOB_STATE_PAUSED", "JOB_STATE_UPDATING"),
}
"""The words of the packages below that say of a job no more than that it has begun."""


@pytest.mark.long
@pytest.mark.parametrize("name", ["anthropic", "bedrock", "openai-chat", "vertex"])
def test_no_word_for_a_state_that_a_package_has_is_missing(name: str) -> None:
    """A word that is not known is `running`, which is right for few of them."""
    if name == "bedrock":
        model = pytest.importorskip("botocore.session").Session().get_service_model("bedrock")
        words = model.shape_for("ModelInvocationJobStatus").enum
    elif name == "vertex":
        words = [each.value for each in pytest.importorskip("google.genai.types").JobState]
    elif name == "anthropic":
        fields = pytest.importorskip("anthropic.types.messages").MessageBatch.model_fields
        words = get_args(fields["processing_status"].annotation)
    else:
        words = get_args(pytest.importorskip("openai.types").Batch.model_fields["status"].annotation)
    assert words
    read = BATCHES[name].protocol().read_job
    ids = dict.fromkeys(("id", "name", "jobArn"), "b")
    states = {
        word: read(
            json.dumps({**ids, "status": word, "state": word, "processing_status": word}).encode()
        ).state
        for word in words
    }
    assert {word for word, state in states.items() if state == "running"} == RUNNING & set(words)
