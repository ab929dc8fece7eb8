"""A provider's "no", in every shape that services give it, sorted into the right error."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import msgspec
import pytest

from brainwires_provider.errors import (
    APIError,
    AuthenticationError,
    ContextLengthError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServerError,
    UnsupportedError,
)
from brainwires_provider.protocols.base.errors import api_error, error_in_reply, retry_after
from brainwires_provider.protocols.base.json import decode_json, looks_like, merged
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.protocol import Reply
from brainwires_provider.protocols.openai_chat import OpenAIChat, OpenAIChatOptions
from brainwires_provider.types import Deviation, Options, Origin, ProviderOptions, Request
from known import count_known

NOW = 1_700_000_000.0


def refused(status: int, body: Any, headers: dict[str, str] | None = None) -> APIError:
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return error_in_reply(Reply(status, headers or {}, data, NOW))


def error(**fields: Any) -> dict[str, Any]:
    return {"error": fields}


TABLE: tuple[tuple[int, Any, type[APIError], str], ...] = (
    (400, error(message="no"), InvalidRequestError, "no"),
    (401, error(message="key"), AuthenticationError, "key"),
    (402, error(message="pay"), RateLimitError, "pay"),
    (403, error(message="no"), PermissionDeniedError, "no"),
    (404, b"404 page not found", NotFoundError, "404 page not found"),
    (405, b"", NotFoundError, "an empty body"),
    (413, error(message="too big"), InvalidRequestError, "too big"),
    (418, {"message": "teapot"}, InvalidRequestError, "teapot"),
    (422, {"detail": "bad"}, InvalidRequestError, "bad"),
    (429, error(message="slow"), RateLimitError, "slow"),
    (500, b"oops", ServerError, "oops"),
    (502, b" <html><body>Bad</body></html>", ServerError, "an HTML page"),
    (503, error(message="full"), OverloadedError, "full"),
    (529, error(message="full"), OverloadedError, "full"),
    # The code and type decide before the status does.
    (400, error(message="no", code="invalid_api_key"), AuthenticationError, "no"),
    (400, error(message="no", type="overloaded_error"), OverloadedError, "no"),
    (500, error(message="no", code="context_length_exceeded"), ContextLengthError, "no"),
    (400, error(message="pay", type="billing_error"), RateLimitError, "pay"),
    (400, error(message="slow", type="timeout_error"), ServerError, "slow"),
    (200, error(message="big", type="request_too_large"), InvalidRequestError, "big"),
    (413, error(message="prompt is too long", type="request_too_large"), ContextLengthError, "prompt"),
    (403, error(message="no", code="insufficient_quota"), RateLimitError, "no"),
    # A status inside the body decides before HTTP's own.
    (200, error(message="no", code=429), RateLimitError, "no"),
    (200, error(message="no", code="503"), OverloadedError, "no"),
    (400, error(message="no", status_code=404), NotFoundError, "no"),
    (400, error(message="no", code="²³¹"), InvalidRequestError, "no"),
    # Words that every refusal of a service carries decide last.
    (401, error(message="no", type="invalid_request_error"), AuthenticationError, "no"),
    (401, error(message="no", type="api_error"), AuthenticationError, "no"),
    (200, error(message="no", type="api_error"), ServerError, "no"),
    (200, error(message="no", code="bad_request"), InvalidRequestError, "no"),
    (200, error(message="no"), APIError, "no"),
    # A prompt that is too long is told by words alone at most services.
    (400, error(message="This model's maximum context length is 5"), ContextLengthError, "maximum"),
    (413, error(message="Prompt is too long"), ContextLengthError, "too long"),
    (429, error(message="rate limited: context window tokens a minute"), RateLimitError, "rate"),
    # The shapes.
    (400, {"error": "text"}, InvalidRequestError, "text"),
    (400, {"error": 5}, InvalidRequestError, "5"),
    (400, {"error": {}, "message": "outer"}, InvalidRequestError, "outer"),
    (
        400,
        {"error": None, "detail": ["a", {"msg": "b"}, {"loc": "x", "msg": "c"}]},
        InvalidRequestError,
        "a; b; x: c",
    ),
    (400, [error(message="listed")], InvalidRequestError, "listed"),
    (400, [], InvalidRequestError, "'[]'"),
    (400, error(code="odd"), InvalidRequestError, "odd"),
    (400, b'data: {"error": 1}\n\n', InvalidRequestError, "server-sent event stream"),
    (400, b"\xff" * 500, InvalidRequestError, "…"),
)


@pytest.mark.parametrize(("status", "body", "kind", "words"), TABLE)
def test_a_refusal_is_sorted(status: int, body: Any, kind: type[APIError], words: str) -> None:
    failure = refused(status, body)
    assert type(failure) is kind
    assert words in failure.message
    assert failure.status == status
    is_used_up = status == 402 or failure.code == "insufficient_quota" or failure.type == "billing_error"
    assert failure.retryable is (kind in (RateLimitError, OverloadedError, ServerError) and not is_used_up)
    for twin in (pickle.loads(pickle.dumps(failure)), copy.copy(failure), copy.deepcopy(failure)):
        assert type(twin) is kind
        assert vars(twin) == vars(failure)
    msgspec.json.encode(failure.body)


def test_what_cannot_be_encoded_again_is_mended() -> None:
    failure = refused(400, b'{"error": {"message": "a\\ud83d", "n": NaN}}')
    assert failure.message == "a\ufffd"
    msgspec.json.encode(failure.body)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": str(31 * 86_400)}, 31 * 86_400),
        ({"retry-after": str(31 * 86_400 + 1)}, None),  # a clock that is wrong
        ({"retry-after": "Tue, 14 Nov 2023 22:13:25 GMT"}, 5),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:25 -0000"}, 5),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:00 GMT"}, 0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds
    assert refused(429, error(message="slow"), headers).retry_after == seconds


def test_a_date_needs_a_clock() -> None:
    assert retry_after({"retry-after": "Tue, 14 Nov 2023 22:13:25 GMT"}, None) is None


# -- what protocols share ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "truncated"),
        (b'{"a": ', "truncated"),
        (b"[" * 100_000, "too deeply"),
        (b'["\\ud800", ' + b"[" * 300 + b"]" * 300 + b"]", "too deeply"),
        (b'["\\ud800", ' + b"[" * 100_000, "too deeply"),
    ],
)
def test_what_is_no_json_says_why(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode_json(data)


def test_ragged_json_is_let_through() -> None:
    assert decode_json(b'{"a": ["\\ud800", NaN, {"b": 1}]}')["a"][0] == "\ud800"


@pytest.mark.parametrize(
    ("known", "value", "both"),
    [
        (1, 2, 2),
        ({"a": 1}, 2, 2),
        (None, {"a": None}, {"a": None}),
        (
            {"a": 1, "b": {"c": 1}},
            {"a": None, "b": {"d": None}, "e": 2},
            {"a": 1, "b": {"c": 1, "d": None}, "e": 2},
        ),
    ],
)
def test_two_tellings_are_merged(known: Any, value: Any, both: Any) -> None:
    before = copy.deepcopy((known, value))
    assert merged(known, value) == both
    assert (known, value) == before


def test_a_body_is_described() -> None:
    assert looks_like(b"\xef\xbb\xbf \n") == "an empty body"
    assert looks_like(b"x" * 200) == repr("x" * 120 + "…")


def test_options_of_another_protocol_are_reported() -> None:
    class Others(ProviderOptions, frozen=True):
        protocol = "gemini"

    given = Options(provider_options=(OpenAIChatOptions(n=2), Others(), OpenAIChatOptions(store=False)))
    reader = OptionReader(Request((), options=given), OpenAIChatOptions)
    assert reader.provider_options() == {"n": 2, "store": False}
    assert reader.finish() == (
        Deviation("provider_options", "dropped", "Others is for gemini, not for openai_chat"),
    )
    assert OptionReader(Request(()), OpenAIChatOptions).provider_options() == {}


def test_chat_counts_no_tokens() -> None:
    with pytest.raises(UnsupportedError, match="usage has the count"):
        count_known(OpenAIChat(), Request(()), Origin("openai_chat", "p", "m"))
    with pytest.raises(UnsupportedError):
        OpenAIChat().decode_count(b"{}")


def test_models_are_listed() -> None:
    call = OpenAIChat().models_call(None)
    assert (call.method, call.path) == ("GET", "/models")
    entries = [
        {"id": "a", "owned_by": "x", "created": 5, "context_length": 8, "max_completion_tokens": 4},
        {"id": "b", "name": "B", "created": "old", "context_length": "8"},
        {"no": "id"},
        "odd",
    ]
    for body in ({"data": entries}, entries):
        models, cursor = OpenAIChat().decode_models(msgspec.json.encode(body), "p")
        assert cursor is None
        a, b = models
        assert (a.id, a.owner, a.created, a.context_window, a.max_output_tokens) == ("a", "x", 5, 8, 4)
        assert (b.display_name, b.created, b.context_window, b.raw) == ("B", None, None, entries[1])


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b'{"data": {}}', b"5"])
def test_what_is_no_model_list_says_so(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a list of models"):
        OpenAIChat().decode_models(body, "p")


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Rate limit reached. Please try again in 11.054s.", 11.054),
        ("Please try again in 20ms", 0.02),
        ("Please try again in 1m30s. Visit the page.", 90.0),
        ("Please try again in a while.", None),
    ],
)
def test_a_rate_limit_in_a_stream_says_in_words_how_long(message: str, seconds: float | None) -> None:
    limited = api_error(message=message, status=None, code="rate_limit_exceeded")
    assert limited.retry_after == pytest.approx(seconds)
    assert api_error(message=message, status=500).retry_after is None
    by_header = api_error(message=message, status=429, headers={"retry-after": "3"})
    assert by_header.retry_after == 3
