"""Errors are classified by code, type and wording before status, in the same way for every protocol."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from brainwires_provider import errors
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
)
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.errors import (
    as_kind,
    count_in,
    error_in_body,
    error_in_reply,
    is_error,
    object_in,
)
from brainwires_provider.protocols.base.protocol import Reply
from brainwires_provider.providers import PROVIDERS
from brainwires_provider.types import Attempt, Origin, TokenCount

CODES: dict[type[APIError], str] = {
    AuthenticationError: "authentication_error invalid_api_key invalid_authentication invalid_authentication_error "
    "unauthorized",
    PermissionDeniedError: "forbidden permission_denied permission_error",
    NotFoundError: "DeploymentNotFound model_not_found not_found not_found_error",
    ContextLengthError: "1261 context_length_exceeded exceed_context_size_error model_max_prompt_tokens_exceeded",
    RateLimitError: "billing_error exceeded_current_quota_error insufficient_quota rate_limit rate_limit_error "
    "rate_limit_exceeded rate_limit_reached_error RateLimitReached too_many_requests too_many_requests_error",
    OverloadedError: "engine_overloaded engine_overloaded_error model_overloaded overloaded overloaded_error "
    "server_is_overloaded server_overloaded service_unavailable service_unavailable_error slow_down unavailable_error",
    ServerError: "internal_error internal_server_error server_error timeout_error api_error",
    InvalidRequestError: "request_too_large invalid_request_error invalid_request bad_request invalid_value "
    "unsupported_value",
}
"""By what they mean: the codes of OpenAI, Azure, Anthropic, Mistral, Moonshot, Groq, Z.AI, llama.cpp, and gateways."""


MINIMAX: dict[type[APIError], tuple[int, ...]] = {
    ServerError: (1000, 1001, 1013, 1024, 1033),
    RateLimitError: (1002, 1008, 1039, 1041, 2056),
    AuthenticationError: (1004, 2049),
    InvalidRequestError: (2013,),
}


@pytest.mark.parametrize(
    ("kind", "code"), [(kind, code) for kind, codes in MINIMAX.items() for code in codes]
)
def test_a_code_of_minimax_is_its_kind(kind: type[APIError], code: int) -> None:
    body = {"choices": None, "base_resp": {"status_code": code, "status_msg": "no"}}
    assert type(error_in_body(body, status=None)) is kind


@pytest.mark.parametrize(
    ("kind", "code"), [(kind, c) for kind, codes in CODES.items() for c in codes.split()]
)
def test_a_code_under_status_200_is_its_kind(kind: type[APIError], code: str) -> None:
    for error in ({"message": "no", "code": code}, {"message": "no", "type": code}):
        assert type(error_in_body({"error": error}, status=None)) is kind


OVERLOADED = (
    "server_is_overloaded",
    "slow_down",
    "service_unavailable_error",
    "engine_overloaded_error",
    "model_overloaded",
    "overloaded_error",
)
RATE_LIMITED = ("too_many_requests_error", "rate_limit", "rate_limit_exceeded", "too_many_requests")
TOO_LONG = {
    "OpenAI": (400, "This model's maximum context length is 8192 tokens. However, your messages are 9000."),
    "xAI": (400, "This model's maximum prompt length is 131072 but the request contains 150000 tokens."),
    "Kimi": (400, "Invalid request: Your request exceeded model token limit: 8192"),
    "Alibaba": (
        400,
        "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 129024]",
    ),
    "Z.AI": (400, "Prompt exceeds max length"),
    "Bedrock": (400, "Input is too long for requested model."),
    "Gemini": (
        400,
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    ),
    "vLLM": (400, "The prompt (length 9000) is longer than the maximum model length of 8192."),
    "OpenRouter": (400, "The input exceeds the maximum allowed input length of 8192 tokens"),
    "Anthropic": (400, "input length and `max_tokens` exceed context limit: 199000 + 8000 > 200000"),
    "Ollama": (500, "prompt too long; exceeded max context length by 12 tokens"),
    "llama.cpp": (500, "input (900 tokens) is too large to process. increase the physical batch size"),
}
CALLERS_FAULT = (
    "image input is not supported - hint: you may need to provide the mmproj",
    "This server does not support embeddings. Start it with `--embeddings`",
)
WAITS = {
    "Rate limit reached. Please try again in 20s.": 20.0,
    "Rate limit reached. Please try again in 6m0s.": 360.0,
    "Try again in 35 seconds.": 35.0,
    "Too many requests: try again in 1 minute 30 seconds": 90.0,
    "Please retry after 5 sec.": 5.0,
    "Rate limit reached. Try again in 1.5 hours": 5400.0,
    "Try again later.": None,
    "Try again in 999999999999 seconds.": None,
    "Please retry in 36.2s.": 36.2,
}
WORDINGS = (
    "The context length is used up",
    "beyond the context window",
    "context_size is 8",
    "the context limit is 8",
    "exceeded max context",
    "the maximum prompt length is 8",
    "The maximum model length is 8",
    "the prompt is too long",
    "input is too long",
    "prompt too long",
    "prompt exceeds max length",
    "exceeded model token limit",
    "too many tokens in the prompt",
    "Too many tokens in the input",
    "range of input length should be [1, 8]",
    "too many input tokens",
    "input tokens exceeded",
    "it exceeds the maximum allowed input length",
    "9 exceed maximum length",
    "The input token count (9) exceeds the maximum",
    "it exceeds the max input tokens",
    "it exceeds the maximum number of tokens",
    "increase the physical batch size",
)
"""Each is told by one wording only."""
UNPAID = (
    "Insufficient quota",
    "insufficient balance",
    "insufficient funds",
    "insufficient credits",
    "insufficient credit left",
    "Your credit balance is too low",
    "out of credits",
    "Payment required",
)
OF_A_DAY = (
    "free-models-per-day",
    "tokens per day limit exceeded",
    "on requests per day (RPD)",
    "too many tokens per day",
    "Your daily limit",
    "daily rate limit",
    "daily usage limit",
    "daily request quota",
    "daily token limit",
    "daily quota",
    "openrouter_free_tier_daily",
)
SPANS = {
    "2h": 7200.0,
    "1 hour": 3600.0,
    "2 hours": 7200.0,
    "2m": 120.0,
    "1 min": 60.0,
    "3 mins": 180.0,
    "1 minute": 60.0,
    "2 minutes": 120.0,
    "4s": 4.0,
    "4 sec": 4.0,
    "4 secs": 4.0,
    "1 second": 1.0,
    "4 seconds": 4.0,
    "250ms": 0.25,
    "1 millisecond": 0.001,
    "500 milliseconds": 0.5,
    "1h2m3.5s": 3723.5,
    "1h, 2m, 3s": 3723.0,
    "1 minute and 30 seconds": 90.0,
    "2 months": None,
    "3 score": None,
    "4": None,
    "2678400s": 2_678_400.0,
    "2678401s": None,
}
"""How long a wording says to wait."""
SERVERS_FAULT = "this not supported: thesis not supported, does not supportive, not implementedly"
DELAYS = {"34s": 34.0, "1.5s": 1.5, "0s": 0.0, "999999999999s": None, f"{'9' * 400}s": None, "soon": None}
"""What a detail of Google's states, and what is believed."""
EVERYWHERE = (
    "openai-chat",
    "openai-responses",
    "anthropic",
    "google",
    "google-interactions",
    "bedrock",
    "ollama",
    "brainwires",
)


def reply(body: Any, status: int, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, named, json.dumps(body).encode(), 1_700_000_000.0)


def refused(message: str, status: int, **fields: Any) -> APIError:
    return error_in_reply(reply({"error": {"message": message, **fields}}, status))


def in_stream(message: str, **fields: Any) -> APIError:
    return error_in_body({"error": {"message": message, **fields}}, status=None)


@pytest.mark.parametrize("code", OVERLOADED)
def test_overload_is_told_by_code_or_type_anywhere(code: str) -> None:
    for error in (
        refused("x", 500, code=code),
        refused("x", 400, type=code),
        in_stream("x", code=code),
        in_stream("x", type=code, code=None),
    ):
        assert type(error) is OverloadedError
        assert error.retryable


@pytest.mark.parametrize("code", RATE_LIMITED)
def test_a_rate_limit_is_told_by_code_or_type_anywhere(code: str) -> None:
    for error in (refused("x", 500, type=code), refused("x", 429), in_stream("x", code=code)):
        assert type(error) is RateLimitError
        assert error.retryable


@pytest.mark.parametrize("service", TOO_LONG)
def test_too_long_a_prompt_is_told_by_its_wording(service: str) -> None:
    status, message = TOO_LONG[service]
    for error in (
        refused(message, status),
        refused(message, status, type="server_error", code=status),
        refused(message, status, type="invalid_request_error"),
        in_stream(message),
    ):
        assert type(error) is ContextLengthError, message
        assert not error.retryable


def test_too_long_a_prompt_is_told_by_its_code() -> None:
    assert type(refused("Prompt too big", 400, code="1261")) is ContextLengthError
    assert type(refused("x", 400, code="model_max_prompt_tokens_exceeded")) is ContextLengthError
    assert type(refused("tokens per minute: context window is 5", 429)) is RateLimitError


@pytest.mark.parametrize("message", WORDINGS)
def test_every_wording_of_too_long_a_prompt(message: str) -> None:
    for error in (refused(message, 400), refused(message.upper(), 500), in_stream(message)):
        assert type(error) is ContextLengthError
    assert type(refused(message, 403)) is PermissionDeniedError


@pytest.mark.parametrize(
    "words",
    ["is not supported", "are not supported", "does not support x", "doesn't support x", "Not implemented"],
)
def test_every_wording_of_a_callers_fault(words: str) -> None:
    assert type(refused(f"This {words}.", 500)) is InvalidRequestError
    assert type(refused(SERVERS_FAULT, 500)) is ServerError
    assert type(in_stream(f"This {words}.")) is APIError


@pytest.mark.parametrize("message", [*UNPAID, *OF_A_DAY])
def test_every_wording_of_a_quota_that_lasts(message: str) -> None:
    for told in (message, message.lower(), message.upper()):
        for error in (refused(told, 429), in_stream(told, code="rate_limit_exceeded")):
            assert (type(error), error.retryable) == (RateLimitError, False)
        assert refused(told, 503).retryable
    assert refused("on requests per daylight, of daily models", 429).retryable


@pytest.mark.parametrize("code", ["insufficient_quota", "exceeded_current_quota_error", "billing_error"])
def test_every_code_of_a_quota_that_is_used_up(code: str) -> None:
    assert not refused("x", 400, code=code).retryable
    for error in (refused("x", 429, type=code.upper()), in_stream("x", type=code)):
        assert (type(error), error.retryable) == (RateLimitError, False)
    for used_up in (1008, 2056):
        told = {"base_resp": {"status_code": used_up, "status_msg": "x"}}
        assert not error_in_body(told, status=None).retryable


@pytest.mark.parametrize("span", SPANS)
def test_every_unit_of_a_wait(span: str) -> None:
    for words in ("try again in", "Retry in", "Please try again after", "retry after"):
        for status in (429, 503):
            assert refused(f"Full. {words} {span}.", status).retry_after == SPANS[span]
            assert refused(f"Full. {words} {span}", status).retry_after == SPANS[span]
        assert refused(f"Full. {words} {span}", 400).retry_after is None


# What is refused, with status 200, and the status that the error states for itself.
STATED: tuple[tuple[dict[str, Any], type[APIError], int | None], ...] = (
    ({"code": 399}, APIError, None),
    ({"code": 400}, InvalidRequestError, 400),
    ({"code": 408}, ServerError, 408),
    ({"code": 409}, InvalidRequestError, 409),
    ({"code": 415}, InvalidRequestError, 415),
    ({"code": 499}, InvalidRequestError, 499),
    ({"code": 500}, ServerError, 500),
    ({"code": 501}, InvalidRequestError, 501),
    ({"code": 502}, ServerError, 502),
    ({"code": 599}, ServerError, 599),
    ({"code": 600}, APIError, None),
    ({"code": 429.0}, APIError, None),
    ({"code": "0429"}, APIError, None),
    ({"code": "42x"}, APIError, None),
    ({"code": "4290"}, APIError, None),
    ({"code": True}, APIError, None),
    ({"code": "429"}, RateLimitError, 429),
    ({"status": "429", "code": 500}, RateLimitError, 429),
    ({"status": 404}, NotFoundError, 404),
    ({"status_code": 404, "status": 503, "code": 429}, NotFoundError, 404),
    ({"status_code": 7, "status": 503, "code": 429}, OverloadedError, 503),
    ({"status": "RESOURCE_EXHAUSTED", "code": 429}, RateLimitError, 429),
    # a name decides before the status, a code before a type, but a vague type before a vague code
    ({"code": "rate_limit", "type": "server_error"}, RateLimitError, None),
    ({"code": "odd", "type": "server_error"}, ServerError, None),
    ({"type": "permission_error", "status": 500}, PermissionDeniedError, 500),
    ({"code": "bad_request", "type": "api_error"}, ServerError, None),
    ({"code": "bad_request", "type": "odd"}, InvalidRequestError, None),
)


@pytest.mark.parametrize(("fields", "kind", "status"), STATED)
def test_the_status_that_an_error_states(
    fields: dict[str, Any], kind: type[APIError], status: int | None
) -> None:
    error = error_in_reply(reply({"error": {"message": "no", **fields}}, 200))
    assert (type(error), error.status, error.provider_status) == (kind, 200, status)
    beside = error_in_reply(reply({"error": {"message": "no", **fields}}, 418))
    assert (beside.status, beside.provider_status) == (418, status)
    code, told = fields.get("code"), fields.get("type")
    assert (error.code, error.type) == (None if code is None else str(code), told)
    assert error.body == {"error": {"message": "no", **fields}}


# What is refused, and all of the message.
MESSAGES: tuple[tuple[Any, str], ...] = (
    ({"error": {"message": "a", "detail": "b", "msg": "c"}}, "a"),
    ({"error": {"detail": "b", "msg": "c"}}, "b"),
    ({"error": {"msg": "c"}}, "c"),
    ({"error": {"message": "", "detail": "b", "msg": "c"}}, "b"),
    ({"error": {"odd": 1}}, "{'odd': 1}"),
    ({"detail": []}, "{'detail': []}"),
    ({"message": "a", "metadata": {"raw": "b"}}, "a: b"),
    ({"msg": "c"}, "c"),
    ({"error": "text", "message": "more"}, "text"),
    ({"error": 5, "message": "more"}, "5"),
    ({"error": ["x"], "message": "more"}, "['x']"),
    ({"base_resp": {"status_code": 1000, "status_msg": "m"}, "message": "more"}, "m"),
    ({"error": "text", "base_resp": {"status_code": 1000, "status_msg": "m"}}, "text"),
    ({"base_resp": "odd", "message": "more"}, "more"),
    ({"detail": [{"loc": ["body", 0, "x"], "msg": "c", "type": "t"}]}, "body.0.x: c"),
    ({"detail": [{"loc": [], "msg": "c"}, {"loc": "y", "msg": "d"}, {"msg": 3}]}, "c; y: d; 3"),
    ({"detail": ["a", {"loc": ["x"]}]}, "a; {'loc': ['x']}"),
    ({"error": {"message": "a", "metadata": "odd"}}, "a"),
    ({"error": {"message": "a", "metadata": {"raw": " ", "limit_source": "upstream"}}}, "a (upstream)"),
    ({"error": {"message": "a", "metadata": {"raw": 3, "limit_source": "upstream"}}}, "a (upstream)"),
    ({"error": {"message": "a", "metadata": {"raw": 3, "limit_source": 4}}}, "a"),
    ({"error": {"message": "a", "metadata": {"raw": '{"error": "b"}', "limit_source": "c"}}}, "a: b"),
    ({"error": {"message": "a", "metadata": {"raw": '{"error": {"message": "b"}}'}}}, "a: b"),
    ({"error": {"message": "a", "metadata": {"raw": '{"message": "b"}'}}}, "a: b"),
    ({"error": {"message": "a", "metadata": {"raw": '{"error": {"code": 1}}'}}}, 'a: {"error": {"code": 1}}'),
    ({"error": {"message": "a", "metadata": {"raw": "[1]"}}}, "a: [1]"),
)


@pytest.mark.parametrize(("body", "message"), MESSAGES)
def test_the_message_of_an_error_of_any_shape(body: Any, message: str) -> None:
    assert refused_as_it_is(body).message == message
    assert refused_as_it_is([body, "odd"]).message == message


def refused_as_it_is(body: Any) -> APIError:
    return error_in_reply(reply(body, 418))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": "text", "code": "invalid_api_key"}, AuthenticationError),
        ({"error": 5, "type": "rate_limit_error"}, RateLimitError),
        ({"error": {"message": "x"}, "code": "invalid_api_key"}, InvalidRequestError),
        ({"error": {"message": "x"}, "base_resp": {"status_code": 1004}}, InvalidRequestError),
        (
            {"error": {"message": "x", "code": "slow_down"}, "base_resp": {"status_code": 1004}},
            OverloadedError,
        ),
        ({"base_resp": {"status_code": 1004}}, AuthenticationError),
        ({"base_resp": {"status_code": 4242}}, InvalidRequestError),
    ],
)
def test_the_names_stand_in_the_error_or_beside_its_text(body: Any, kind: type[APIError]) -> None:
    error = refused_as_it_is(body)
    assert (type(error), error.status, error.body) == (kind, 418, body)


def test_a_body_that_is_no_json_is_kept_in_part() -> None:
    for data, words in ((b"x" * 5000, f"HTTP 503 with '{'x' * 120}…'"), (b"\xff", "HTTP 503 with '\ufffd'")):
        error = error_in_reply(Reply(503, {"retry-after": "7"}, data, 0.0))
        assert (type(error), error.message) == (OverloadedError, words)
        assert (error.status, error.retry_after) == (503, 7.0)
        assert error.body == data[:4096].decode(errors="replace")
    moment = {"retry-after": "Thu, 01 Jan 1970 00:00:07 GMT"}
    assert error_in_reply(Reply(503, moment, b"busy", 2.0)).retry_after == 5.0


def test_the_same_error_as_another_kind() -> None:
    error = error_in_reply(
        reply({"error": {"message": "no", "code": "c", "type": "t"}}, 418, retry_after="7")
    )
    error.provider, error.model = "p", "m"
    other = as_kind(error, OverloadedError)
    assert (type(other), other.message, other.retryable, str(other)) == (
        OverloadedError,
        "no",
        True,
        str(error),
    )
    assert vars(other) == {name: value for name, value in vars(error).items() if name != "retryable"}
    assert as_kind(error, InvalidRequestError) is error


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": "x"}, True),
        ({"error": {}, "data": []}, False),
        ({"object": "error"}, True),
        ({"object": "list"}, False),
        ({"base_resp": {"status_code": 1004}}, True),
        ({"base_resp": {"status_code": 0}}, False),
        ({"base_resp": 1004}, False),
        ({"message": "x"}, True),
        ({"detail": "x"}, True),
        ({"message": "", "detail": "x"}, True),
        ({"message": ""}, False),
        ({"message": {"role": "assistant"}}, False),
        ({"message": "x", "id": ""}, True),
        ({"message": "x", "id": "c1"}, False),
        ({}, False),
    ],
)
def test_what_is_an_error_in_the_place_of_an_object(body: dict[str, Any], expected: bool) -> None:
    assert is_error(body) is expected
    for sent in (body, [body]) if body.get("error") else (body,):
        data = json.dumps(sent).encode()
        if expected:
            with pytest.raises(APIError):
                object_in(data, "the count")
            with pytest.raises(LookupError):
                object_in(data, "the count", lookup_error)  # type: ignore[arg-type]
        else:
            assert object_in(data, "the count") == body


def lookup_error(body: dict[str, Any]) -> LookupError:
    return LookupError(body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", r"^the answer is not JSON \(.*\): an HTML page"),
        (b"[1]", r"^the answer is not an object: '\[1\]'"),
        (b'[{"a": 1}]', r"^the answer is not an object"),
    ],
)
def test_what_is_no_object_says_so(body: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        object_in(body, "the answer")


@pytest.mark.parametrize("count", ["5", 5.0, True, None, [5]])
def test_what_is_no_count_says_so(count: Any) -> None:
    body = json.dumps({"b": 5, "c": 6}).encode()
    assert count_in(body, "a", "b", "c") == TokenCount(5, {"b": 5, "c": 6})
    for data in (json.dumps({"a": count, "b": 5}).encode(), b"{}"):
        with pytest.raises(ProtocolError, match=r"no count of input tokens: '\{"):
            count_in(data, "a", "b")
    with pytest.raises(ProtocolError, match="the count of tokens is not"):
        count_in(b"3", "a")


@pytest.mark.parametrize("provider", EVERYWHERE)
def test_every_protocol_classifies_by_the_same_table(provider: str) -> None:
    protocol = PROVIDERS[provider].protocol()
    for status, message in TOO_LONG.values():
        error = protocol.decode_error(reply({"error": {"message": message}}, status))
        assert isinstance(error, ContextLengthError), message


@pytest.mark.parametrize("message", CALLERS_FAULT)
@pytest.mark.parametrize("status", [500, 501])
def test_a_callers_fault_under_a_servers_status_is_not_retried(message: str, status: int) -> None:
    for error in (refused(message, status), refused(message, status, type="server_error", code=status)):
        assert type(error) is InvalidRequestError
        assert not error.retryable


def test_what_no_second_try_mends_is_not_retryable() -> None:
    for error in (
        refused(
            "You exceeded your current quota.", 429, code="insufficient_quota", type="insufficient_quota"
        ),
        in_stream("You exceeded your current quota.", code="insufficient_quota"),
        refused("Payment required", 402),
        refused("Your credit balance is too low to access the API.", 400, type="invalid_request_error"),
        refused("Insufficient Balance", 402, code="invalid_request_error"),
        refused("x", 429, type="exceeded_current_quota_error"),
        refused("Not implemented", 501),
        refused("Rate limit exceeded", 429, metadata={"limit_source": "openrouter_free_tier_daily"}),
    ):
        assert not error.retryable, error
    assert type(refused("x", 429, code="insufficient_quota")) is RateLimitError
    assert refused("Resource exhausted: you exceeded your current quota per minute", 429).retryable
    assert type(refused("boom", 500)) is ServerError
    assert refused("boom", 500).retryable


# Every class of errors, its bases besides Python's own, whether it is retryable, and what it holds of its own.
NO_API: dict[str, Any] = dict.fromkeys(
    ("status", "provider_status", "code", "type", "body", "retry_after", "partial")
)
CLASSES: dict[str, tuple[set[type], bool, dict[str, Any], dict[str, Any]]] = {
    "ProviderError": (set(), False, {}, {}),
    "ConfigError": (set(), False, {}, {}),
    "UnsupportedError": (set(), False, {}, {}),
    "BudgetExceededError": (set(), False, {}, {}),
    "SharedServerError": (set(), True, {}, {}),
    "StoreError": (set(), True, {}, {}),
    "TransportError": (set(), True, {}, {}),
    "ConnectError": ({errors.TransportError, ConnectionError}, True, {}, {}),
    "BreakerOpenError": ({errors.ConnectError}, True, {"retry_after": 1.5}, {}),
    "RequestTimeout": ({errors.TransportError, TimeoutError}, True, {"clock": "total"}, {}),
    "StreamInterrupted": ({errors.TransportError}, True, {"how": "eof"}, {"partial": None}),
    "StreamTimeout": (
        {errors.StreamInterrupted, errors.RequestTimeout},
        True,
        {"clock": "idle"},
        {"how": "idle", "partial": None},
    ),
    "APIError": (set(), False, {}, NO_API),
    **dict.fromkeys(
        ("AuthenticationError", "PermissionDeniedError", "NotFoundError", "InvalidRequestError"),
        ({errors.APIError}, False, {"status": 400, "code": "c", "type": "t", "body": {"a": 1}}, {}),
    ),
    "ContextLengthError": ({errors.InvalidRequestError}, False, {}, NO_API),
    **dict.fromkeys(
        ("RateLimitError", "OverloadedError", "ServerError"),
        ({errors.APIError}, True, {"provider_status": 529, "retry_after": 2.5}, {"partial": None}),
    ),
    "ProtocolError": (set(), False, {}, {"partial": None}),
    "FramingError": ({errors.ProtocolError}, False, {}, {"partial": None}),
    "OutputError": (set(), False, {}, {"partial": None}),
    "OutputTruncated": ({errors.OutputError}, False, {}, {"partial": None}),
    "OutputRefused": ({errors.OutputError}, False, {}, {"partial": None}),
    "OutputInvalid": ({errors.OutputError}, False, {}, {"partial": None, "problems": ()}),
}


def test_every_class_of_errors_is_listed() -> None:
    assert {*CLASSES, "ToolArgumentsError"} == set(errors.__all__)


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_says_whose_it_is_and_whether_it_is_retryable(name: str) -> None:
    bases, retryable, given, unset = CLASSES[name]
    cls: Any = getattr(errors, name)
    assert all(issubclass(cls, base) for base in {*bases, errors.ProviderError})
    plain = cls("what went wrong", **given)
    assert {key: getattr(plain, key) for key in (*given, *unset)} == {**given, **unset}
    assert (plain.provider, plain.model, plain.request_id, plain.attempts) == (None, None, None, ())
    error = cls("what went wrong", provider="p", model="m", request_id="r", **given)
    error.attempts = (Attempt("x"),)
    for each in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(each) is cls and each.retryable is retryable and vars(each) == vars(error)
        assert (str(each), each.message, each.provider, each.model, each.request_id, each.attempts) == (
            "what went wrong",
            "what went wrong",
            "p",
            "m",
            "r",
            (Attempt("x"),),
        )
    if issubclass(cls, errors.APIError):
        assert cls("x", retryable=not retryable).retryable is not retryable


def test_being_retryable_survives_a_copy_and_a_pickle() -> None:
    error = refused("x", 429, code="insufficient_quota")
    assert not copy.copy(error).retryable
    assert not pickle.loads(pickle.dumps(error)).retryable


@pytest.mark.parametrize("message", WAITS)
def test_a_wait_is_read_from_the_wording(message: str) -> None:
    assert refused(message, 429).retry_after == WAITS[message]


@pytest.mark.parametrize("message", WAITS)
@pytest.mark.parametrize("provider", EVERYWHERE)
def test_every_protocol_reads_a_wait_from_the_wording(provider: str, message: str) -> None:
    protocol = PROVIDERS[provider].protocol()
    error = {"code": 429, "message": message}
    for told in (error, {**error, "status": "RESOURCE_EXHAUSTED"}):
        assert protocol.decode_error(reply({"error": told}, 429)).retry_after == WAITS[message]


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("provider", ["google", "google-interactions"])
def test_a_delay_among_googles_details_is_sensible(provider: str, delay: str) -> None:
    protocol = PROVIDERS[provider].protocol()
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
    told = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "no", "details": details}
    assert protocol.decode_error(reply({"error": told}, 429)).retry_after == DELAYS[delay]
    by_header = protocol.decode_error(reply({"error": told}, 429, retry_after="7")).retry_after
    assert by_header == (7.0 if DELAYS[delay] is None else DELAYS[delay])


@pytest.mark.parametrize("provider", EVERYWHERE)
def test_an_event_named_error_is_classified_by_its_type(provider: str) -> None:
    protocol = PROVIDERS[provider].protocol()
    if protocol.name == "bedrock_converse":
        return  # its frames have no such event: an exception is named by a header
    decoder = protocol.decoder(Origin(protocol.name, provider, "m"))
    event = {"message": "busy", "type": "slow_down"}
    name = None if provider == "ollama" else "error"
    body = {"error": event} if provider == "ollama" else event
    with pytest.raises(OverloadedError, match="busy") as caught:
        decoder.feed(WireMessage(json.dumps(body).encode(), name))
    assert caught.value.retryable
    assert caught.value.type == "slow_down"


@pytest.mark.parametrize(
    "header", ["1e12", "-1", "nan", "Fri, 31 Dec 9999 23:59:59 GMT", "9" * 400, "Mon, 99 Foo 2026", ""]
)
def test_an_absurd_wait_is_none(header: str) -> None:
    assert error_in_reply(reply({"error": {"message": "x"}}, 429, retry_after=header)).retry_after is None


def test_a_sensible_wait_is_kept() -> None:
    assert error_in_reply(reply({}, 429, retry_after="3600")).retry_after == 3600.0
    assert error_in_reply(reply({}, 429, retry_after_ms="1500")).retry_after == 1.5


def test_the_upstream_text_of_a_router_is_shown_and_decides() -> None:
    raw = '{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens"}}'
    fields: dict[str, Any] = {"code": 400, "metadata": {"raw": raw, "provider_name": "Anthropic"}}
    error = refused("Provider returned error", 400, **fields)
    assert type(error) is ContextLengthError
    assert error.message == "Provider returned error: prompt is too long: 210000 tokens"
    plain = refused("Provider returned error", 502, code=502, metadata={"raw": "upstream is down"})
    assert plain.message == "Provider returned error: upstream is down"


def test_minimax_reports_errors_beside_the_choices() -> None:
    kinds = {
        1002: RateLimitError,
        1004: AuthenticationError,
        1008: RateLimitError,
        1039: RateLimitError,
        2013: InvalidRequestError,
        2049: AuthenticationError,
        1000: ServerError,
        4242: APIError,
    }
    for code, kind in kinds.items():
        body = {"choices": None, "base_resp": {"status_code": code, "status_msg": "insufficient balance"}}
        error = error_in_body(body, status=None)
        assert type(error) is kind, code
        assert error.message == "insufficient balance"
        assert error.code == str(code)
    assert not error_in_body({"base_resp": {"status_code": 1008, "status_msg": "x"}}, status=None).retryable


def test_an_array_of_one_error_is_that_error() -> None:
    error = error_in_reply(Reply(403, {}, b'[{"error":{"message":"no","code":403}}]', 0.0))
    assert type(error) is PermissionDeniedError
    assert error.message == "no"
