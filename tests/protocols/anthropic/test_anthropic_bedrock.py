"""Claude through InvokeModel: Messages events out of an AWS event stream, and Bedrock's own exceptions in it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from anthropic_answers import chunk, framed
from brainwires_provider.errors import (
    APIError,
    AuthenticationError,
    ContextLengthError,
    OverloadedError,
    ProtocolError,
    RateLimitError,
    ServerError,
    StreamInterrupted,
)
from brainwires_provider.events import Event, collect
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.framing.eventstream import EventStreamFraming
from brainwires_provider.protocols.anthropic import BEDROCK_INVOKE, AnthropicMessages
from brainwires_provider.protocols.anthropic.response import AnthropicDecoder, BedrockAnthropicDecoder
from brainwires_provider.protocols.base.protocol import Reply
from brainwires_provider.types import Origin

ORIGIN = Origin("anthropic_messages", "bedrock", "us.anthropic.claude-x-v1:0")
EVENTS: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {"id": "m", "model": "claude-x", "content": [], "usage": {"input_tokens": 1}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hé"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 1}},
]


def read(*pieces: bytes, decoder: BedrockAnthropicDecoder | None = None) -> list[Event]:
    decoder, framing = decoder or BedrockAnthropicDecoder(ORIGIN), EventStreamFraming()
    events = [e for piece in pieces for m in framing.feed(piece) for e in decoder.feed(m)]
    return events + decoder.finish()


def test_a_stream_is_that_of_the_messages_api_at_every_split_point() -> None:
    plain = AnthropicDecoder(ORIGIN)
    expected = [e for event in EVENTS for e in plain.feed(WireMessage(msgspec.json.encode(event)))]
    odd = framed(b"{}", event_type="odd", message_type="event")
    data = odd + b"".join(map(chunk, EVENTS)) + chunk({"type": "ping"})
    assert read(data) == expected
    for at in range(1, len(data)):
        assert read(data[:at], data[at:]) == expected
    response = collect(expected)
    assert (response.text, response.model, response.usage.total_tokens) == ("Hé", "claude-x", 3)
    assert response.extra == {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 1}}


def test_the_anthropic_package_reads_the_same_events() -> None:
    pytest.importorskip("botocore")
    theirs = pytest.importorskip("anthropic.lib.bedrock._stream_decoder").AWSEventStreamDecoder()
    data = b"".join(map(chunk, EVENTS))
    told = [msgspec.json.decode(sse.data) for sse in theirs.iter_bytes(iter([data]))]
    assert told == EVENTS


@pytest.mark.parametrize(
    ("name", "words", "error"),
    [
        ("throttlingException", "Too many requests", RateLimitError),
        ("modelStreamErrorException", "Retry your request", ServerError),
        ("internalServerException", "Something broke", ServerError),
        ("serviceUnavailableException", "Try again later", OverloadedError),
        ("validationException", "Input is too long for requested model.", ContextLengthError),
    ],
)
def test_an_exception_in_the_stream_is_a_typed_error(name: str, words: str, error: type[APIError]) -> None:
    told = framed(msgspec.json.encode({"message": words}), exception_type=name, message_type="exception")
    decoder = BedrockAnthropicDecoder(ORIGIN)
    with pytest.raises(error) as raised:
        read(*map(chunk, EVENTS[:3]), told, decoder=decoder)
    assert (raised.value.message, raised.value.code) == (words, name)
    assert raised.value.partial is not None and raised.value.partial.text == "Hé"
    assert decoder.ended


def test_nothing_follows_the_end_or_an_exception() -> None:
    late = framed(b'{"message": "late"}', exception_type="throttlingException", message_type="exception")
    assert collect(read(*map(chunk, EVENTS), late, chunk(EVENTS[2]))).text == "Hé"
    decoder = BedrockAnthropicDecoder(ORIGIN)
    with pytest.raises(RateLimitError, match="late") as caught:
        read(late, decoder=decoder)
    assert (caught.value.provider, caught.value.model) == (ORIGIN.provider, ORIGIN.model)
    assert read(late, chunk(EVENTS[2]), decoder=decoder) == []


def test_an_error_that_stands_in_the_headers() -> None:
    told = framed(b"", error_code="InternalFailure", error_message="It broke", message_type="error")
    with pytest.raises(ServerError, match="It broke"):
        read(told)


def test_a_refused_request_is_named_by_bedrock() -> None:
    headers = {"x-amzn-errortype": "ExpiredTokenException:http://internal.test/", "retry-after": "3"}
    body = b'{"message":"The security token included in the request is expired"}'
    error = AnthropicMessages(BEDROCK_INVOKE).decode_error(Reply(403, headers, body, 0))
    assert type(error) is AuthenticationError
    assert (error.code, error.status, error.retry_after) == ("ExpiredTokenException", 403, 3.0)


def test_an_error_event_and_a_cut_are_those_of_the_messages_api() -> None:
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    with pytest.raises(OverloadedError):
        read(chunk(overloaded))
    with pytest.raises(StreamInterrupted):
        read(*map(chunk, EVENTS[:3]))


@pytest.mark.parametrize("payload", [b'{"bytes":"?"}', b'{"bytes":7}', b'{"bytes":"\xc3\xa9"}'])
def test_a_chunk_that_is_no_base64_is_a_protocol_error(payload: bytes) -> None:
    with pytest.raises(ProtocolError, match="no base64"):
        read(framed(payload, event_type="chunk", message_type="event"))


def test_what_a_gateway_unwrapped_is_read_too() -> None:
    decoder = BedrockAnthropicDecoder(ORIGIN)
    events = [e for event in EVENTS for e in decoder.feed(WireMessage(msgspec.json.encode(event)))]
    assert collect(events).text == "Hé"
    assert decoder.feed(WireMessage(b"{}")) == []
