"""Errors are classified by code, type and wording before status, in the same way for every protocol."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from brainwires_provider.errors import (
    APIError,
    AuthenticationError,
    ContextLengthError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
)
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.errors import error_in_body, error_in_reply
from brainwires_provider.protocols.base.protocol import Reply
from brainwires_provider.providers import PROVIDERS
from brainwires_provider.types import Origin

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
