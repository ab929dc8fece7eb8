"""Every fault of faults.py on Messages, and what only this wire has: its own errors, and where its version stands."""

from __future__ import annotations

import json
from typing import Any

import pytest

from brainwires_provider import (
    APIError,
    AsyncClient,
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServerError,
)
from brainwires_provider.testing import Answer, ScriptedServer, sse
from colours import ask
from dialects import Dialect
from faults import BOTH, FORMS, FaultTests, failing

pytestmark = pytest.mark.long

MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m-1"}
PING = {"type": "ping"}


def begun(text: str) -> list[dict[str, Any]]:
    usage = {"input_tokens": 3, "output_tokens": 1}
    return [
        {"type": "message_start", "message": {**MESSAGE, "content": [], "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
    ]


def named(*events: dict[str, Any]) -> bytes:
    """As the service sends them: each event has its type as its name too."""
    return b"".join(f"event: {e['type']}\n".encode() + sse(e, done=False) for e in events)


def stream(text: str) -> bytes:
    return named(
        *begun(text),
        PING,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    )


def error(kind: str, message: str = "burnt", **details: Any) -> dict[str, Any]:
    return {
        "type": "error",
        "error": {"type": kind, "message": message, **details},
        "request_id": "req_body",
    }


WHOLE = {
    **MESSAGE,
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 1},
}
DIALECT = Dialect(
    row="anthropic",
    path="/v1/messages",
    stream=stream,
    whole=json.dumps(WHOLE).encode(),
    held=named(*begun("Hel")),
    burnt=named(error("overloaded_error")),
    misshapen=b'{"id": "x", "content": 3}',
    unended="no message_stop came",
    ends=lambda text: {len(text) - 2, len(text) - 1, len(text)},
    odd=lambda text: {
        "[DONE] at the end": text + b"data: [DONE]\n\n",
        "without names": b"\n".join(line for line in text.split(b"\n") if not line.startswith(b"event:")),
        "a block that never stops": text.replace(named({"type": "content_block_stop", "index": 0}), b""),
    },
    said=lambda body: body["messages"][0]["content"],
)


class TestMessages(FaultTests):
    dialect = DIALECT


# -- the errors that this service has words for --------------------------------------------------------------

ERRORS: dict[str, tuple[int, type[APIError], bool]] = {
    "invalid_request_error": (400, InvalidRequestError, False),
    "authentication_error": (401, AuthenticationError, False),
    "billing_error": (402, RateLimitError, False),
    "permission_error": (403, PermissionDeniedError, False),
    "not_found_error": (404, NotFoundError, False),
    "request_too_large": (413, InvalidRequestError, False),
    "rate_limit_error": (429, RateLimitError, True),
    "api_error": (500, ServerError, True),
    "timeout_error": (504, ServerError, True),
    "overloaded_error": (529, OverloadedError, True),
}


@BOTH
@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_is_the_same_as_a_reply_and_in_a_stream(kind: str, colour: str) -> None:
    """In a stream no status tells it, only its type."""
    status, expected, retryable = ERRORS[kind]
    told = error(kind, details={"error_code": "why"})
    replies = {
        status: Answer(status, body=json.dumps(told).encode()),
        200: Answer(body=[DIALECT.held + named(told)]),
    }
    for seen, answer in replies.items():
        with ScriptedServer([answer]) as server:
            failure = failing(DIALECT, colour, server, stream=True)
        assert type(failure) is expected
        assert isinstance(failure, APIError)
        assert (failure.type, failure.code, failure.request_id) == (kind, "why", "req_body")
        assert (failure.status, failure.retryable) == (seen, retryable)
        assert (failure.partial.text if failure.partial else None) == (None if seen == status else "Hel")


@BOTH
def test_a_second_start_is_broken_and_keeps_what_had_come(colour: str) -> None:
    another = DIALECT.text.replace(b'"msg_1"', b'"msg_2"')
    assert another != DIALECT.text
    with ScriptedServer([Answer(body=[DIALECT.held + another])]) as server:
        failure = failing(DIALECT, colour, server, stream=True)
    assert isinstance(failure, ProtocolError)
    assert failure.partial is not None and failure.partial.text == "Hel"


# -- where the version stands --------------------------------------------------------------------------------


@BOTH
@FORMS
@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_a_base_url_may_have_the_version_or_not(ending: str, stream: bool, colour: str) -> None:
    with ScriptedServer([DIALECT.good(stream)]) as server:
        outcome = ask(colour, server.url + ending, model="anthropic:m", stream=stream)
        assert [r.path for r in server.requests] == ["/v1/messages"]
    assert outcome.response.text == "Hello"


@pytest.mark.parametrize("ending", ["", "/v1", "/v1/"])
def test_so_may_the_variable_that_holds_it(ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", f"https://proxy.test/anthropic{ending}")
    prepared = AsyncClient("anthropic:m").prepare("hi")
    assert prepared.url == "https://proxy.test/anthropic/v1/messages"

    monkeypatch.delenv("ANTHROPIC_BASE_URL")
    prepared = AsyncClient("anthropic:m", base_url=f"https://api.anthropic.com{ending}").prepare("hi")
    assert prepared.url == "https://api.anthropic.com/v1/messages"
    assert prepared.headers["x-api-key"]  # its own host, however it is spelt
