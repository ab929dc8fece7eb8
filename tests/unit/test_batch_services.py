"""What services of OpenAI's shape have in another form: their requests and bodies, as their documentation has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace

from batches import finished, run
from brainwires_provider import APIError, AsyncClient, ProtocolError, ProviderError, UnsupportedError, Usage
from brainwires_provider.protocols.base.batches import (
    BatchLimits,
    BatchProtocol,
    Job,
    LineResult,
    NewJob,
    job_in,
    lines_in,
    whole_counts,
)
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.gemini.operations import VertexBatches
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


# -- the calls of each service, as its documentation has them ------------------------------------------------

JSONL = "Content-Type: application/jsonl"
CHAT = Call("/chat/completions", {"model": "m"}, method="PUT")
NEW = NewJob(
    "our-name", "m", "/chat/completions", (b'{"custom_id":"a"}',), "f1", settings={"metadata": {"a": "b"}}
)
CHAT_LINE = {"custom_id": "a", "method": "PUT", "url": "/v1/chat/completions", "body": {"model": "m"}}
BARE = {"custom_id": "a", "body": {"model": "m"}}
META = {"metadata": {"a": "b"}}
DAY = {"endpoint": "/v1/chat/completions", "completion_window": "24h", **META}
MB = 1_000_000
CALLS: dict[str, dict[str, Any]] = {
    "openai-chat": {
        "limits": (50_000, 200 * MB, True),
        "line": CHAT_LINE,
        "upload": ("/files", {"purpose": "batch"}),
        "create": ("/batches", {**DAY, "input_file_id": "f1"}),
        "job": "/batches/a%2Fb",
        "cancel": "/batches/a%2Fb/cancel",
        "jobs": ("/batches", {"limit": "100", "after": "c"}),
        "results": ("/files/f%2F2/content", {}),
    },
    "groq": {"limits": (50_000, 100 * MB, True), "line": CHAT_LINE},
    "mistral": {
        "limits": (100_000, 200 * MB, True),
        "line": BARE,
        "upload": ("/files", {"purpose": "batch"}),
        "create": (
            "/batch/jobs",
            {"endpoint": DAY["endpoint"], "model": "m", "input_files": ["f1"], "timeout_hours": 24, **META},
        ),
        "job": "/batch/jobs/a%2Fb",
        "cancel": "/batch/jobs/a%2Fb/cancel",
        "jobs": ("/batch/jobs", {"page_size": "100", "after": "c"}),
        "results": ("/files/f%2F2/content", {}),
    },
    "together": {
        "limits": (50_000, 100 * MB, True),
        "line": CHAT_LINE,
        "upload": (
            "/files/upload",
            {"purpose": "batch-api", "file_name": "requests.jsonl", "file_type": "jsonl"},
        ),
        "create": ("/batches", {**DAY, "input_file_id": "f1"}),
    },
    "openrouter": {
        "limits": (5_000, 190 * MB, True),
        "line": BARE,
        "create": (
            "/batches",
            {"endpoint": DAY["endpoint"], "model": "m", "requests": [Raw(b'{"custom_id":"a"}')], **META},
        ),
        "job": "/batches/a%2Fb",
        "cancel": None,
        "jobs": None,
        "results": ("/batches/a%2Fb", {}),
    },
    "xai": {
        "limits": (50_000, 200 * MB, False),
        "line": CHAT_LINE,
        "upload": ("/files", {"purpose": "batch"}),
        "create": ("/batches", {"name": "our-name", "input_file_id": "f1", **META}),
        "job": "/batches/a%2Fb",
        "cancel": "/batches/a%2Fb:cancel",
        "jobs": ("/batches", {"limit": "100", "pagination_token": "c"}),
        "results": ("/batches/a%2Fb/results", {"limit": "1000", "pagination_token": "f/2"}),
    },
}


for name in ("groq", "together"):
    CALLS[name] = {**CALLS["openai-chat"], **CALLS[name]}


@pytest.mark.parametrize("name", CALLS)
def test_every_call_of_a_service(name: str) -> None:
    protocol, known = BATCHES[name].protocol(), CALLS[name]
    limits = protocol.limits
    assert (limits.lines, limits.size, limits.one_model) == known["limits"]
    assert (limits.fewest, protocol.way) == (1, "inline" if name == "openrouter" else "files")
    assert protocol.line("a", CHAT, "m") == known["line"]
    call = protocol.create(NEW)
    assert (call.method, (call.path, call.body)) == ("POST", known["create"])
    for field in call.body:
        assert protocol.create(replace(NEW, settings={field: "own"})).body[field] == "own"
    job, cancel, jobs = protocol.retrieve("a/b"), protocol.cancel("a/b"), protocol.jobs("c")
    results = protocol.results(Job("a/b", "done", "x"), "f/2")
    assert job == Call(known["job"], {}, method="GET")
    assert cancel == (known["cancel"] and Call(known["cancel"], {}))
    assert (jobs and (jobs.method, (jobs.path, jobs.query))) == (known["jobs"] and ("GET", known["jobs"]))
    assert protocol.jobs(None) == (jobs and first_page(jobs))
    assert (results.method, (results.path, results.query)) == ("GET", known["results"])
    if name == "xai":
        assert protocol.results(Job("a/b", "done", "x"), "") == first_page(results)


def first_page(call: Call) -> Call:
    """The call without its cursor, which is the last in its query."""
    return replace(call, query=dict([*call.query.items()][:-1]))


@pytest.mark.parametrize("name", [name for name, known in CALLS.items() if "upload" in known])
def test_every_upload_of_a_service(name: str) -> None:
    """A form, as RFC 7578 has it; its boundary is in no line."""
    path, fields = CALLS[name]["upload"]
    lines = b'{"a":1}\n{"b":2}'
    call = BATCHES[name].protocol().upload(lines, "our-name")
    kind, _, boundary = call.headers["Content-Type"].partition("; boundary=")
    assert (call.method, call.path, call.body, kind) == ("POST", path, {}, "multipart/form-data")
    parts = (call.content or b"").decode().split(f"--{boundary}")
    head = "Content-Disposition: form-data; name="
    assert parts == [
        "",
        *(f'\r\n{head}"{field}"\r\n\r\n{value}\r\n' for field, value in fields.items()),
        f'\r\n{head}"file"; filename="our-name.jsonl"\r\n{JSONL}\r\n\r\n{lines.decode()}\r\n',
        "--\r\n",
    ]
    assert BATCHES[name].protocol().upload(lines + b"\n", "our-name").headers != call.headers
    assert BATCHES[name].protocol().read_upload(b'{"id":"f1"}') == "f1"


def counted(**counts: Any) -> dict[str, Any]:
    return {"request_counts": counts}


OUTPUT, ERRORS = {"output_file_id": "f2"}, {"error_file_id": "f3"}
RAN = ("completed", "expired", "cancelled")
JOBS: tuple[tuple[str, dict[str, Any], tuple[str, ...], bool], ...] = (
    # the service, the job, where its results are, and whether it does not name all of them yet
    ("openai-chat", {"status": "in_progress"}, (), False),
    ("openai-chat", {"status": "finalizing", **counted(completed=2)}, (), False),
    ("openai-chat", {"status": "failed", **counted(completed=2)}, (), False),
    ("openai-chat", {"status": "completed"}, (), True),
    ("openai-chat", {"status": "completed", "output_file_id": "", "error_file_id": None}, (), True),
    ("openai-chat", {"status": "completed", **OUTPUT}, ("f2",), False),
    ("openai-chat", {"status": "completed", **ERRORS}, ("f3",), False),
    ("openai-chat", {"status": "completed", **counted(total=2)}, (), True),
    ("openai-chat", {"status": "expired"}, (), False),
    ("openai-chat", {"status": "cancelled"}, (), False),
    *(
        case
        for status in RAN
        for case in (
            ("openai-chat", {"status": status, **counted(completed=2, failed=0)}, (), True),
            ("openai-chat", {"status": status, **counted(completed=0, failed=2)}, (), True),
            ("openai-chat", {"status": status, **counted(completed=0, failed=0)}, (), False),
            ("openai-chat", {"status": status, **counted(completed=2), **ERRORS}, ("f3",), True),
            ("openai-chat", {"status": status, **counted(failed=2), **OUTPUT}, ("f2",), True),
            ("openai-chat", {"status": status, **counted(completed=2, failed=0), **OUTPUT}, ("f2",), False),
            ("openai-chat", {"status": status, **counted(completed=2, failed=1), **OUTPUT, **ERRORS},
             ("f2", "f3"), False),
        )
    ),
    ("openai-chat", {"status": "completed", "output_file_id": 3, **counted(completed="2")}, (), False),
    ("mistral", {"status": "SUCCESS", "succeeded_requests": 2}, (), True),
    ("mistral", {"status": "SUCCESS", "failed_requests": 2, "output_file": "f2"}, ("f2",), True),
    ("mistral", {"status": "TIMEOUT_EXCEEDED", "failed_requests": 2, "error_file": "f3"}, ("f3",), False),
    ("openrouter", {"status": "completed"}, (), True),
    ("openrouter", {"status": "completed", "results": None}, (), True),
    ("openrouter", {"status": "completed", "results": "odd"}, (), True),
    ("openrouter", {"status": "completed", "results": []}, ("",), False),
    ("openrouter", {"status": "in_progress", "results": []}, ("",), False),
    ("openrouter", {"status": "failed"}, (), False),
)  # fmt: skip


@pytest.mark.parametrize(("name", "job", "sources", "lags"), JOBS)
def test_where_the_results_of_a_job_are(
    name: str, job: dict[str, Any], sources: tuple[str, ...], lags: bool
) -> None:
    read = BATCHES[name].protocol().read_job(json.dumps({"id": "b", **job}).encode())
    assert (read.id, read.raw_state, read.mark) == ("b", job["status"], None)
    assert (read.sources, read.lags) == (sources, lags)
    counters = job if name == "mistral" else job.get("request_counts", {})
    assert read.counts == {field: int(count) for field, count in counters.items() if str(count).isdecimal()}


@pytest.mark.parametrize(
    ("line", "outcome", "status", "body"),
    [
        ({"error": {"code": "batch_expired", "message": "x"}}, "expired", None, None),
        ({"error": {"code": "batch_cancelled"}, "response": None}, "cancelled", None, None),
        ({"error": {"code": "odd"}, "response": {"status_code": 200}}, "errored", None, None),
        ({"error": {"code": 399}}, "errored", None, None),
        ({"error": {"code": 400}}, "errored", 400, None),
        ({"error": {"code": 599}}, "errored", 599, None),
        ({"error": {"code": 600}}, "errored", None, None),
        ({"error": {"code": "429"}}, "errored", None, None),
        ({"error": "text"}, "errored", None, None),
        ({}, "errored", None, {"error": None}),
        ({"error": None, "response": None}, "errored", None, {"error": None}),
        ({"error": {}, "response": {"body": {"a": 1}}}, "succeeded", None, {"a": 1}),
        ({"response": {"status_code": 200}}, "succeeded", 200, None),
        ({"response": {}}, "succeeded", None, None),
    ],
)
def test_what_became_of_a_line(line: dict[str, Any], outcome: str, status: int | None, body: Any) -> None:
    for name in ("openai-chat", "openrouter"):
        told = {"custom_id": "a", **line}
        sent = told if name == "openai-chat" else {"id": "b", "results": [told, "odd"]}
        (read,) = BATCHES[name].protocol().read_results(json.dumps(sent).encode(), ["a"]).results
        assert (read.id, read.outcome, read.status, read.request_id) == ("a", outcome, status, None)
        expected = {"error": line["error"]} if outcome != "succeeded" and body is None else body
        assert json.loads(bytes(read.body)) == expected


@pytest.mark.parametrize(
    ("result", "outcome", "status", "body"),
    [
        (
            {"response": {"chat_get_completion": {"a": 1}}, "error": {"code": 500}},
            "succeeded",
            None,
            {"a": 1},
        ),
        ({"error": {"code": 500, "message": "x"}}, "errored", 500, {"error": {"code": 500, "message": "x"}}),
        ({"response": {}}, "errored", None, {"error": {"message": "there is no answer"}}),
        ({}, "errored", None, {"error": {"message": "there is no answer"}}),
        (None, "errored", None, {"error": {"message": "there is no answer"}}),
    ],
)
def test_what_became_of_a_line_of_xai(
    result: Any, outcome: str, status: int | None, body: dict[str, Any]
) -> None:
    line = {"batch_request_id": "a"} if result is None else {"batch_request_id": "a", "batch_result": result}
    for token in ("", "p"):
        page = json.dumps({"results": [line, "odd"], "pagination_token": token}).encode()
        (read,), after = BATCHES["xai"].protocol().read_results(page, ["a"])
        assert (read.id, read.outcome, read.status, after) == ("a", outcome, status, token or None)
        assert json.loads(bytes(read.body)) == body
    with pytest.raises(ProtocolError, match="the page of results is not"):
        BATCHES["xai"].protocol().read_results(b"3", ["a"])


@pytest.mark.parametrize(
    ("job", "told"),
    [
        (xai_state(0, 0), ("queued", "0 of 0 pending")),
        (xai_state(2, 1), ("running", "1 of 2 pending")),
        (xai_state(2, 0), ("done", "0 of 2 pending")),
        (xai_state(0, 0, cancel_time="x"), ("cancelled", "cancelled")),
        (xai_state(2, 1, cancel_time="x", cancel_by_xai_message="y"), ("failed", "cancelled")),
        ({"batch_id": "b1", "input_file_id": "f1"}, ("queued", "0 of 0 pending")),
        ({"batch_id": "b1", "state": {"num_pending": 3}}, ("queued", "3 of 0 pending")),
    ],
)
def test_every_field_of_a_job_of_xai(job: dict[str, Any], told: tuple[str, str]) -> None:
    read = BATCHES["xai"].protocol().read_job(json.dumps(job).encode())
    assert (read.id, (read.state, read.raw_state), read.sources, read.lags) == ("b1", told, ("",), False)
    assert (read.counts, read.mark) == (job.get("state", {}), job.get("name") or job.get("input_file_id"))
    with pytest.raises(ProtocolError, match="it has no batch_id, but id"):
        BATCHES["xai"].protocol().read_job(b'{"id": "b1"}')


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
    with pytest.raises(error):
        job_in(body, "name", "job")


@pytest.mark.parametrize(
    ("body", "name", "key", "job"),
    [
        ({"id": "x", "error": {"message": "no"}}, "id", None, None),
        ({"job": {"id": "x"}}, "id", "job", {"id": "x"}),
        ({"job": [1], "id": "x"}, "id", "job", None),
        ({"name": "x", "message": "m"}, "name", None, None),
        ({"id": "\ud800"}, "id", None, {"id": "\ufffd"}),
    ],
)
def test_what_is_a_job(body: dict[str, Any], name: str, key: str | None, job: Any) -> None:
    assert job_in(json.dumps(body).encode(), name, key) == (body if job is None else job)


@pytest.mark.parametrize("id", [5, None, ["x"]])
def test_what_describes_no_job_says_what_it_has(id: Any) -> None:
    body = {"id": id, **dict.fromkeys("kjihgfedcba", 1)}
    with pytest.raises(ProtocolError, match=r"it has no id, but a, b, c, d, e, f, g, h, i$"):
        job_in(json.dumps(body).encode())


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


ENDED = {
    "id": "m/1",
    "processing_status": "ended",
    "request_counts": {"processing": 0, "succeeded": 3, "errored": 1, "canceled": 0, "expired": 0},
    "results_url": "https://example.test/results",
}
ANSWERS = {"inlinedResponses": {"inlinedResponses": [{"response": {}}]}}
OF_GEMINI = {"state": "BATCH_STATE_SUCCEEDED", "displayName": "n", "batchStats": {"requestCount": "2"}}
OF_VERTEX = {
    "name": "projects/p/locations/l/batchPredictionJobs/7 8",
    "displayName": "n",
    "state": "JOB_STATE_SUCCEEDED",
    "completionStats": {"successfulCount": "2", "failedCount": "1"},
}
OF_BEDROCK = {
    "jobArn": "arn:aws:bedrock:us-east-1:1:model-invocation-job/j",
    "jobName": "n",
    "status": "Failed",
    "message": "no such bucket",
    "totalRecordCount": 3,
    "errorRecordCount": 1,
    "timeoutDurationInHours": 24,
}
OF_OPENAI: dict[str, Any] = {
    "id": "b",
    "status": "completed",
    "input_file_id": "f",
    "output_file_id": "o",
    "error_file_id": "e",
    "request_counts": {"total": 3, "completed": 2, "failed": 1},
}
COUNTS = OF_OPENAI["request_counts"]
OF_MISTRAL = {
    "id": "b",
    "status": "SUCCESS",
    "input_files": ["f", "g"],
    "output_file": "o",
    "succeeded_requests": 2,
    "failed_requests": 1,
}
SHOWN: list[tuple[str, dict[str, Any], Job]] = [
    ("openai-chat", OF_OPENAI, Job("b", "done", "completed", "f", ("o", "e"), COUNTS)),
    ("openai-chat", {**OF_OPENAI, "output_file_id": ""},
     Job("b", "done", "completed", "f", ("e",), COUNTS, lags=True)),
    ("openai-chat", {**OF_OPENAI, "status": "failed", "error": "no"},
     Job("b", "failed", "failed", "f", ("o", "e"), COUNTS, "no")),
    ("mistral", OF_MISTRAL,
     Job("b", "done", "SUCCESS", "f", ("o",), {"succeeded_requests": 2, "failed_requests": 1}, lags=True)),
    ("together", {"job": OF_OPENAI}, Job("b", "done", "completed", "f", ("o", "e"), COUNTS)),
    ("openrouter", {**OF_OPENAI, "results": []}, Job("b", "done", "completed", "f", ("",), COUNTS)),
    ("anthropic", ENDED,
     Job("m/1", "done", "ended", sources=("results",), counts=ENDED["request_counts"])),
    ("anthropic", {"id": "m", "processing_status": "ended"}, Job("m", "done", "ended", lags=True)),
    ("anthropic", {"id": "m", "processing_status": "ended", "archived_at": "2026-11-29T00:00:00Z"},
     Job("m", "done", "ended")),
    ("anthropic", {"id": "m", "processing_status": "ended", "request_counts": {"canceled": 1, "expired": 2}},
     Job("m", "cancelled", "ended", counts={"canceled": 1, "expired": 2}, lags=True)),
    ("anthropic", {"id": "m", "processing_status": "ended", "request_counts": {"canceled": 0, "expired": 2}},
     Job("m", "expired", "ended", counts={"canceled": 0, "expired": 2}, lags=True)),
    ("anthropic", {"id": "m"}, Job("m", "running", "")),
    ("google", {"name": "batches/1", "metadata": {**OF_GEMINI, "output": ANSWERS}},
     Job("batches/1", "done", "BATCH_STATE_SUCCEEDED", "n", ("",), {"requestCount": 2})),
    ("google", {"name": "batches/1", "metadata": OF_GEMINI, "response": ANSWERS},
     Job("batches/1", "done", "BATCH_STATE_SUCCEEDED", "n", ("",), {"requestCount": 2})),
    ("google", {"name": "batches/1", "metadata": OF_GEMINI},
     Job("batches/1", "done", "BATCH_STATE_SUCCEEDED", "n", (), {"requestCount": 2}, lags=True)),
    ("google", {"name": "batches/1", "metadata": {"state": "BATCH_STATE_FAILED"}, "error": {"message": "no"}},
     Job("batches/1", "failed", "BATCH_STATE_FAILED", error="no")),
    ("google", {"name": "batches/1", "metadata": "odd", "error": "odd"}, Job("batches/1", "running", "")),
    ("google", {"name": "batches/1", "error": {"code": 3}}, Job("batches/1", "running", "")),
    ("vertex", OF_VERTEX,
     Job(OF_VERTEX["name"], "done", "JOB_STATE_SUCCEEDED", "n",
         counts={"successfulCount": 2, "failedCount": 1})),
    ("vertex", {"name": "j", "state": "JOB_STATE_FAILED", "error": {"code": 3, "message": "no"}},
     Job("j", "failed", "JOB_STATE_FAILED", error="no")),
    ("vertex", {"name": "j"}, Job("j", "running", "")),
    ("bedrock", OF_BEDROCK,
     Job(OF_BEDROCK["jobArn"], "failed", "Failed", "n",
         counts={"totalRecordCount": 3, "errorRecordCount": 1}, error="no such bucket")),
    ("bedrock", {"jobArn": "a"}, Job("a", "queued", "")),
]  # fmt: skip
"""What a service shows of a job, as its reference has it, and what is read."""


@pytest.mark.parametrize(("name", "shown", "job"), SHOWN)
def test_every_field_of_a_job_that_is_read(name: str, shown: dict[str, Any], job: Job) -> None:
    assert BATCHES[name].protocol().read_job(json.dumps(shown).encode()) == job


LISTS: list[tuple[str, str, dict[str, Any], str]] = [
    ("google", "operations", {"name": "batches/1", "metadata": {"displayName": "n"}}, "nextPageToken"),
    ("vertex", "batchPredictionJobs", OF_VERTEX, "nextPageToken"),
    ("bedrock", "invocationJobSummaries", OF_BEDROCK, "nextToken"),
]
"""The field of a page that has the jobs, one of them, and the field that has the next page's token."""


@pytest.mark.parametrize(("name", "field", "shown", "token"), LISTS)
def test_every_field_of_a_list_of_jobs(name: str, field: str, shown: dict[str, Any], token: str) -> None:
    protocol = BATCHES[name].protocol()
    one = protocol.read_job(json.dumps(shown).encode())
    for page, found in (
        (
            {field: [shown, {"state": "x"}, dict.fromkeys(("name", "jobArn"), ""), "odd"], token: "p"},
            ([one], "p"),
        ),
        ({field: [shown, shown], token: ""}, ([one, one], None)),
        ({}, ([], None)),
    ):
        assert protocol.read_jobs(json.dumps(page).encode()) == found


NEW_JOB = NewJob(
    "ours",
    "m:1",
    "/models/m%3A1:generateContent",
    (b'{"a":1}', b'{"b":2}'),
    "in",
    "out",
    {"roleArn": "r", "x": 1},
)
ARN_IN_PATH = "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Amodel-invocation-job%2Fj"
OF_A_JOB: dict[str, tuple[str, str, str, dict[str, Any], dict[str, str] | None]] = {
    "anthropic": (
        "m/1",
        "/v1/messages/batches",
        "/v1/messages/batches/m%2F1",
        {"requests": [{"a": 1}, {"b": 2}], "roleArn": "r", "x": 1},
        None,
    ),
    "google": (
        "batches/1?",
        "/models/m%3A1:batchGenerateContent",
        "/batches/1%3F",
        {
            "batch": {
                "displayName": "ours",
                "inputConfig": {"requests": {"requests": [{"a": 1}, {"b": 2}]}},
                "roleArn": "r",
                "x": 1,
            }
        },
        {"pageSize": "100", "pageToken": "p"},
    ),
    "vertex": (
        OF_VERTEX["name"],
        "/batchPredictionJobs",
        "/batchPredictionJobs/7%208",
        {
            "displayName": "ours",
            "model": "publishers/google/models/m%3A1",
            "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": ["in"]}},
            "outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": "out"}},
            "roleArn": "r",
            "x": 1,
        },
        {"pageSize": "100", "pageToken": "p"},
    ),
    "bedrock": (
        OF_BEDROCK["jobArn"],
        "/model-invocation-job",
        f"/model-invocation-job/{ARN_IN_PATH}",
        {
            "jobName": "ours",
            "clientRequestToken": "ours",
            "modelId": "m:1",
            "modelInvocationType": "Converse",
            "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "in", "s3InputFormat": "JSONL"}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "out"}},
            "roleArn": "r",
            "x": 1,
        },
        {"maxResults": "100", "sortBy": "CreationTime", "sortOrder": "Descending", "nextToken": "p"},
    ),
}
"""Of each service a job's id, where one is created, its own path, the body that creates it, and the list's query."""
CANCELLING = {"anthropic": "/cancel", "google": ":cancel", "vertex": ":cancel", "bedrock": "/stop"}
LISTED_AT = {
    "google": "/batches",
    "vertex": "/batchPredictionJobs",
    "bedrock": "/model-invocation-jobs",
}


@pytest.mark.parametrize("name", OF_A_JOB)
def test_every_call_of_a_job(name: str) -> None:
    id, created, place, body, query = OF_A_JOB[name]
    protocol = BATCHES[name].protocol()
    create, retrieve, cancel, listed = (
        protocol.create(NEW_JOB), protocol.retrieve(id), protocol.cancel(id), protocol.jobs("p")
    )  # fmt: skip
    assert (create.method, create.path, json.loads(msgspec.json.encode(create.body))) == (
        "POST",
        created,
        body,
    )
    assert (retrieve.method, retrieve.path, retrieve.body) == ("GET", place, {})
    assert cancel is not None
    assert (cancel.method, cancel.path, cancel.body) == ("POST", place + CANCELLING[name], {})
    assert protocol.jobs(None) == (listed and first_page(listed))
    assert (None if listed is None else (listed.method, listed.path, listed.query)) == (
        None if query is None else ("GET", LISTED_AT[name], query)
    )
    if protocol.way == "inline":
        job = Job(id, "done", "")
        results = protocol.results(job, "results")
        expected = place + ("/results" if name == "anthropic" else "")
        assert (results.method, results.path, results.body) == ("GET", expected, {})


@pytest.mark.parametrize(
    ("name", "like", "field", "value"),
    [
        ("vertex-anthropic", "vertex", "model", "publishers/anthropic/models/m%3A1"),
        ("bedrock-invoke", "bedrock", "modelInvocationType", "InvokeModel"),
    ],
)
def test_a_job_of_another_kind_differs_by_one_field(name: str, like: str, field: str, value: str) -> None:
    call = BATCHES[name].protocol().create(NEW_JOB)
    assert (call.path, call.body) == (OF_A_JOB[like][1], {**OF_A_JOB[like][3], field: value})


@pytest.mark.parametrize(
    ("name", "way", "limits"),
    [
        ("anthropic", "inline", BatchLimits(100_000, 255_000_000, one_model=False)),
        ("google", "inline", BatchLimits(100_000, 19_000_000)),
        ("vertex", "store", BatchLimits(200_000, 200_000_000)),
        ("bedrock", "store", BatchLimits(50_000, 200_000_000, fewest=100)),
    ],
)
def test_what_a_job_may_hold(name: str, way: str, limits: BatchLimits) -> None:
    protocol = BATCHES[name].protocol()
    assert (protocol.way, protocol.limits) == (way, limits)


LINE = {"contents": [], "labels": {"team": "a"}}
LINES: dict[str, dict[str, Any]] = {
    "anthropic": {"custom_id": "i", "params": LINE},
    "google": {"request": LINE, "metadata": {"key": "i"}},
    "vertex": {"request": {"contents": [], "labels": {"team": "a", "brainwires_id": "i"}}},
    "vertex-anthropic": {"custom_id": "i", "request": LINE},
    "bedrock": {"recordId": "i", "modelInput": LINE},
    "bedrock-invoke": {"recordId": "i", "modelInput": LINE},
}


@pytest.mark.parametrize("name", LINES)
def test_a_request_as_a_line(name: str) -> None:
    assert BATCHES[name].protocol().line("i", Call("/x", LINE), "m") == LINES[name]
    assert LINE == {"contents": [], "labels": {"team": "a"}}
    unlabelled = VertexBatches("google").line("i", Call("/x", {"labels": None}), "m")
    assert unlabelled == {"request": {"labels": {"brainwires_id": "i"}}}


RESULTS: list[tuple[str, dict[str, Any], LineResult]] = [
    ("anthropic", {"custom_id": "a", "result": {"type": "succeeded", "message": {"x": 1}}},
     LineResult("a", "succeeded", None, Raw(b'{"x":1}'))),
    ("anthropic", {"custom_id": "a", "result": {"type": "errored", "error": {"request_id": "r"}}},
     LineResult("a", "errored", None, Raw(b'{"request_id":"r"}'), "r")),
    ("anthropic", {"custom_id": "a", "result": {"type": "errored", "error": {}}},
     LineResult("a", "errored", None, Raw(b"{}"))),
    ("anthropic", {"custom_id": "a", "result": {"type": "canceled"}}, LineResult("a", "cancelled")),
    ("anthropic", {"custom_id": "a", "result": {"type": "expired"}}, LineResult("a", "expired")),
    ("anthropic", {"custom_id": "a", "result": {"type": "odd"}},
     LineResult("a", "errored", None, Raw(
         b'{"error":{"type":"odd","message":"the result has another form"}}'))),
    ("vertex", {"custom_id": "a", "response": {"x": 1}}, LineResult("a", "succeeded", None, Raw(b'{"x":1}'))),
    ("vertex", {"request": {"labels": {"brainwires_id": "a"}}, "response": {"x": 1}, "status": ""},
     LineResult("a", "succeeded", None, Raw(b'{"x":1}'))),
    ("vertex", {"custom_id": "a"},
     LineResult("a", "errored", None, Raw(b'{"error":{"message":"there is no answer"}}'))),
    ("vertex", {"custom_id": "a", "response": {"x": 1}, "status": {"odd": 1}},
     LineResult("a", "errored", None, Raw(b'{"error":{"message":"there is no answer"}}'))),
    ("vertex", {"custom_id": "a", "status": '{"error": {"code": 404, "message": "gone"}}'},
     LineResult("a", "errored", 404, Raw(b'{"error":{"code":404,"message":"gone"}}'))),
    ("vertex", {"custom_id": "a", "response": {"x": 1}, "status": 'Bad: {"error": {"code": 400, "message": "odd"}}'},
     LineResult("a", "errored", 400, Raw(b'{"error":{"code":400,"message":"odd"}}'))),
    ("vertex", {"custom_id": "a", "status": "Bad: {"},
     LineResult("a", "errored", None, Raw(b'{"error":{"message":"Bad: {"}}'))),
    ("vertex", {"custom_id": "a", "status": '{"error": 3}'},
     LineResult("a", "errored", None, Raw(b'{"error":{"message":"{\\"error\\": 3}"}}'))),
    ("bedrock", {"recordId": "a", "modelOutput": {"x": 1}},
     LineResult("a", "succeeded", None, Raw(b'{"x":1}'))),
    ("bedrock", {"recordId": "a", "error": {"errorCode": 429, "errorMessage": "slow"}},
     LineResult("a", "errored", 429, Raw(b'{"message":"slow"}'))),
    ("bedrock", {"recordId": "a", "error": {"errorCode": "429"}},
     LineResult("a", "errored", None, Raw(b'{"message":"the record failed"}'))),
]  # fmt: skip
"""One line of the results, and what it is."""


@pytest.mark.parametrize(("name", "line", "result"), RESULTS)
def test_every_field_of_a_result(name: str, line: dict[str, Any], result: LineResult) -> None:
    body = msgspec.json.encode(line)
    assert BATCHES[name].protocol().read_results(body, ["a"]) == ([result], None)


INLINED: list[tuple[list[Any], list[str], list[tuple[str, str, bytes]]]] = [
    ([{"response": {"x": 1}, "metadata": {"key": "b"}}, "odd"], ["a", "b"], [("b", "succeeded", b'{"x":1}')]),
    ([{"response": {"x": 1}}], ["a"], [("a", "succeeded", b'{"x":1}')]),
    ([{"response": {"x": 1}, "metadata": "odd"}], ["a"], [("a", "succeeded", b'{"x":1}')]),
    ([{"response": {"x": 1}, "metadata": {"key": "b"}}, {"response": {}}], ["a", "b"],
     [("b", "succeeded", b'{"x":1}')]),
    ([{"response": {"x": 1}}, {"response": {"x": 2}}], ["a", "b"],
     [("a", "succeeded", b'{"x":1}'), ("b", "succeeded", b'{"x":2}')]),
    ([{"response": {"x": 1}}], ["a", "b"], []),
    ([{"error": "odd"}], ["a"], [("a", "errored", b'{"error":"odd"}')]),
    ([{"error": {"code": "1"}}], ["a"], [("a", "errored", b'{"error":{"code":"1"}}')]),
]  # fmt: skip


@pytest.mark.parametrize(("answers", "ids", "found"), INLINED)
def test_whose_the_answers_in_a_job_of_gemini_are(
    answers: list[Any], ids: list[str], found: list[tuple[str, str, bytes]]
) -> None:
    job = {"name": "batches/1", "response": {"inlinedResponses": {"inlinedResponses": answers}}}
    read = BATCHES["google"].protocol().read_results(json.dumps(job).encode(), ids).results
    assert [(each.id, each.outcome, bytes(each.body)) for each in read] == found


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
